"""Tax IDs: which countries ask for one, and whether one can be right (check digits, by python-stdnum).

A Tax ID is kept as it is printed on an invoice: of EU members with the country's prefix, of others as python-stdnum
writes it compactly. A country that python-stdnum knows no number of takes any text.
"""

from stdnum import get_cc_module
from stdnum.exceptions import ValidationError

# EU members must print a business customer's VAT number for reverse charge (Directive 2006/112/EC, Article 226); Greece
# is EL there. The others ask for the customer's number on every electronic invoice: CNPJ, RFC, GSTIN.
EU = ("AT", "BE", "BG", "CY", "CZ", "DE", "DK", "EE", "ES", "FI", "FR", "GR", "HR", "HU", "IE", "IT", "LT", "LU", "LV",
      "MT", "NL", "PL", "PT", "RO", "SE", "SI", "SK")  # fmt: skip
NEEDED = (*EU, "BR", "IN", "MX")
# Countries without a VAT number of that name, and what a company has there.
_OTHER_NAMES = {"US": "ein", "LI": "peid", "MD": "idno", "UA": "edrpou", "ZA": "tin"}


class TaxIdError(ValueError):
    """The text is no Tax ID of the country."""


def read_tax_id(country: str, text: str) -> str:
    """Return a Tax ID as it is kept; raises TaxIdError where it can not be right."""
    module = get_cc_module(country.lower(), _OTHER_NAMES.get(country, "vat"))
    if module is None:
        return " ".join(text.split())
    bare = text.strip()
    if country in EU and not bare.upper().startswith(prefix(country)):
        bare = prefix(country) + bare
    try:
        number = str(module.validate(bare))
    except ValidationError as error:
        raise TaxIdError(f"is not a valid Tax ID of {country} ({_reason(error)})") from error
    return prefix(country) + number.removeprefix(prefix(country)) if country in EU else number


def prefix(country: str) -> str:
    """Return the letters before an EU member's VAT numbers."""
    return "EL" if country == "GR" else country


def _reason(error: ValidationError) -> str:
    text = str(error)
    return text[:1].lower() + text[1:].rstrip(".")
