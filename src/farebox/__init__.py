"""A prepaid gateway between a company's applications and the WhatsApp Business API."""

from importlib.metadata import version

__version__ = version("farebox")
