"""The types of fields: amounts, ids, texts. Each checks, says in one sentence what it wants, and describes itself.

A mistake is reported by the sentence alone: the value may be a secret.
"""

import re
from dataclasses import dataclass
from typing import Annotated, Any, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import AfterValidator, BeforeValidator, Field, GetCoreSchemaHandler, GetJsonSchemaHandler, PlainSerializer
from pydantic.json_schema import JsonSchemaValue, WithJsonSchema
from pydantic_core import CoreSchema, PydanticCustomError, core_schema
from yarl import URL

from farebox.core.markup import format_percent, parse_percent
from farebox.core.money import AmountError, format_micros, parse_micros


def refuse(sentence: str) -> PydanticCustomError:
    """Return the error of a field, in our own words."""
    return PydanticCustomError("farebox", "{sentence}", {"sentence": sentence})


def read_amount(value: object) -> int:
    """Read a decimal string as micro-units."""
    if not isinstance(value, str):
        raise refuse('must be a decimal string like "10.00"; a JSON number may lose digits')
    try:
        return parse_micros(value)
    except AmountError as error:
        raise refuse(str(error)) from error


def _not_negative(micros: int) -> int:
    if micros < 0:
        raise refuse("must be 0.00 or more")
    return micros


def _positive(micros: int) -> int:
    if micros <= 0:
        raise refuse("must be more than 0.00")
    return micros


# Micro-units inside, a decimal string outside, with the currency beside it. This one is given; the two below are taken.
Amount = Annotated[
    int,
    PlainSerializer(format_micros, return_type=str),
    WithJsonSchema({"type": "string", "pattern": r"^-?\d{1,10}(\.\d{1,6})?$", "examples": ["10.00"]}),
]
AmountFromZero = Annotated[Amount, BeforeValidator(read_amount), AfterValidator(_not_negative)]
AmountAboveZero = Annotated[Amount, BeforeValidator(read_amount), AfterValidator(_positive)]


MAX_MARKUP_PPM = 100_000_000  # a hundredfold: more is a slip of the pen
MAX_TAX_PPM = 1_000_000
MAX_FIXED_MICROS = 1_000_000_000


def _read_percent(value: object) -> int:
    if not isinstance(value, str):
        raise refuse('must be a decimal string like "4.5"; a JSON number may lose digits')
    try:
        return parse_percent(value)
    except ValueError as error:
        raise refuse(str(error)) from error


def _at_most(limit: int, limit_text: str) -> AfterValidator:
    def check(value: int) -> int:
        if value > limit:
            raise refuse(f"must be {limit_text} or less")
        return value

    return AfterValidator(check)


# Parts per million inside, a decimal string outside.
Percent = Annotated[
    int,
    PlainSerializer(format_percent, return_type=str),
    WithJsonSchema({"type": "string", "pattern": r"^\d{1,5}(\.\d{1,4})?$", "examples": ["4.5"]}),
]
MarkupPercent = Annotated[Percent, BeforeValidator(_read_percent), _at_most(MAX_MARKUP_PPM, "10000")]
TaxPercent = Annotated[Percent, BeforeValidator(_read_percent), _at_most(MAX_TAX_PPM, "100")]
FixedMarkup = Annotated[AmountFromZero, _at_most(MAX_FIXED_MICROS, "1000.00")]


@dataclass(frozen=True)
class Shape:
    """A text that matches a pattern as a whole; the sentence says which texts do."""

    pattern: str
    sentence: str

    def check(self, text: str) -> str:
        """Return the text; refuse it with the sentence."""
        if re.fullmatch(self.pattern, text, re.ASCII) is None:
            raise refuse(self.sentence)
        return text

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_after_validator_function(self.check, handler(source))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        return {**handler(schema), "pattern": f"^(?:{self.pattern})$"}


# PostgreSQL stores no NUL, and no other control character belongs in a name or a reference.
PLAIN = Shape(r"[^\x00-\x1f\x7f]*", "must not contain control characters")
# A line break in a token would end the header that carries it.
_VISIBLE = Shape(r"[\x21-\x7e]{1,4096}", "must be 1 to 4096 visible ASCII characters without spaces")

ACCOUNT_ID = Shape(
    r"[A-Za-z0-9][A-Za-z0-9_.@-]{0,63}",
    "must be 1 to 64 letters, digits or _ . @ - and start with a letter or digit",
)
# Meta's ids are digits, and only such a path is metered as a send.
META_ID = Shape(r"[0-9]{1,64}", "must be the id that Meta shows, 1 to 64 digits (not the phone number itself)")

AccountId = Annotated[str, ACCOUNT_ID]
NumberId = Annotated[str, META_ID]
Currency = Annotated[str, Shape(r"[A-Z]{3}", 'must be a three-letter currency code like "USD"')]
Country = Annotated[str, Shape(r"[A-Z]{2}", 'must be a two-letter country code like "DE"')]
Name = Annotated[str, Field(min_length=1, max_length=200), PLAIN]
Reference = Annotated[str, Field(min_length=1, max_length=200), PLAIN]
Label = Annotated[str, Field(max_length=64), PLAIN]
Line = Annotated[str, Field(min_length=1, max_length=100), PLAIN]
Email = Annotated[
    str,
    Field(max_length=254),
    Shape(
        r"[^\s@<>()\x00-\x1f\x7f]{1,64}@[A-Za-z0-9.-]+\.[A-Za-z0-9-]{2,}",
        'must be an address like "billing@example.com"',
    ),
]
WabaId = Annotated[str, Shape(r"[0-9]{0,64}", "must be the WhatsApp Business Account's id, up to 64 digits")]
Secret = Annotated[str, _VISIBLE]
# It may stand in a path, so it needs no escape there; 16 characters are beyond guessing over HTTP.
WebhookSecret = Annotated[
    str, Shape(r"[A-Za-z0-9._~-]{16,256}", "must be 16 to 256 letters, digits or . _ ~ -, so that it fits into a URL")
]
RegimeName = Annotated[str, Field(min_length=1, max_length=64), PLAIN]


def _zone(text: str) -> str:
    try:
        ZoneInfo(text)
    except (ZoneInfoNotFoundError, ValueError, OSError):  # OSError: the name of a folder, "Europe"
        raise refuse('must be a time zone of the IANA database like "Europe/Berlin"') from None
    return text


def _application(text: str) -> str:
    try:
        url = URL(text)
        usable = url.scheme in ("http", "https") and bool(url.host) and url.explicit_port != 0
    except ValueError:
        usable = False
    if not usable:
        raise refuse('must be an http or https address like "https://app.example.com/webhook"')
    if url.user is not None or url.password is not None:
        raise refuse("must not carry a user or password: this address is shown, so it can not keep a secret")
    return text


Zone = Annotated[
    str, Shape(r"[A-Za-z0-9_+/-]{1,64}", 'must be a time zone like "Europe/Berlin"'), AfterValidator(_zone)
]
ApplicationUrl = Annotated[
    str, Field(max_length=2048), Shape(r"[\x21-\x7e]+", "must be a URL, percent-encoded"), AfterValidator(_application)
]
Mode = Literal["enforce", "shadow", "off"]
FundsRule = Literal["above_zero", "cover"]
