"""A prepaid gateway between a company's applications and the WhatsApp Business API."""
