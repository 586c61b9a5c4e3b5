"""Who a message goes to: what a client wrote into `to` or `recipient`, as WhatsApp names that user, and the country.

The numbering plans are data of phonenumbers, the Python port of Google's libphonenumber. Only its metadata is used:
the patterns are compiled here, once per country, and nothing is kept per recipient, so a million of them cost no more
memory than one. Measured (tests/benchmarks/markets.py; Python 3.11, one core of a small server): import of
phonenumbers 20 ms and 1.6 MB, plans of the 26 countries behind +1 on first use 25 ms, of the whole world 200 ms and
2.6 MB; a country 0.5 us on average and 2 us behind +1, a recipient 2 to 6 us, for random digits of the whole world.

Rules of the platform: plus, blanks, hyphens and brackets are allowed; without a plus the country calling code of the
*business number* is put in front (Meta, "Cloud API, Messages, phone number formats", developers.facebook.com). But most
clients send international digits without a plus, so both readings are weighed (`Recipients.resolve`). What WhatsApp
made of it stands in the answer's `contacts[].wa_id` and wins.

Known unsure: WhatsApp keeps some users of Brazil without the ninth digit and some of Mexico with a 1 after +52. The
digits do not tell which, so they are left alone; the country is the same either way.
"""

import re
from dataclasses import dataclass
from enum import IntEnum
from functools import cache, lru_cache
from typing import NamedTuple

from phonenumbers import COUNTRY_CODE_TO_REGION_CODE, REGION_CODE_FOR_NON_GEO_ENTITY, PhoneMetadata, PhoneNumberDesc

UNKNOWN = ""  # the country of digits that no country's plan claims: satellite phones, no such calling code
MAX_DIGITS = 15  # of an international number (ITU-T E.164, section 6); it bounds the wallet's keys as well
USER_ID = re.compile(r"[A-Z]{2}\.[A-Za-z0-9.]{1,128}")  # "US.1349...", and the form of the parent, "US.ENT.1349..."

# How people and phone books group digits, with the dashes, blanks and invisible marks of text that was copied. None of
# them can change which number is meant.
_PUNCTUATION = r"\s\-.()\[\]/\u00ad\u200b-\u200f\u2010-\u2015\u2212\u202a-\u202e\u2060-\u2069\ufeff"
# Digits are ASCII only. No source says that WhatsApp reads Arabic or full-width ones, and a guess would price one user
# and open the windows of another. Letters, which are digits on some keypads, are refused for the same reason.
_WRITTEN = re.compile(rf"(?:[Tt][Ee][Ll]:)?[{_PUNCTUATION}]*(\+?)([0-9{_PUNCTUATION}]*)")
_NOT_DIGITS = re.compile(r"[^0-9]")


class RecipientError(ValueError):
    """The text can not be a recipient. The sentence is for the developer who sent it."""


class Recipient(NamedTuple):
    """A user as WhatsApp names one: E.164 digits without plus, or a business-scoped user id; and the ISO country."""

    user: str
    country: str


class Fit(IntEnum):
    """How well digits fit the numbering plan of a country, from not at all to a mobile number."""

    NONE = 0
    SHAPE = 1  # the plan has numbers of this form and length, none of them in use as far as the library knows
    FIXED = 2  # in use, and not for mobile phones
    EITHER = 3  # in use; the plan does not tell mobile numbers from others (the United States, Denmark)
    MOBILE = 4


# Without a plus: how well digits must fit as an international number to be read as one, given how they fit as a number
# of the business's own country. Meta's rule is the latter. It gives way where the other reading is the likelier one:
# WhatsApp lives on mobile phones, and someone who writes a national landline without its leading 0 is rare.
_INTERNATIONAL_FROM = {Fit.NONE: Fit.NONE, Fit.SHAPE: Fit.FIXED, Fit.FIXED: Fit.MOBILE}


@dataclass(frozen=True, slots=True)
class _Plan:
    """The numbering plan of one country, compiled. `claim` tells its numbers from others of the same calling code."""

    country: str
    calling_code: str
    claim: str
    shape: re.Pattern[str]
    lengths: frozenset[int]
    in_use: re.Pattern[str]
    mobile: re.Pattern[str]
    mobile_fit: Fit
    prefix: re.Pattern[str] | None
    prefix_rule: str | None

    def fit(self, national: str) -> Fit:
        """Tell how well a national number, without prefix, fits."""
        if not self.has_shape(national):
            return Fit.NONE
        if self.mobile.fullmatch(national):
            return self.mobile_fit
        return Fit.FIXED if self.in_use.fullmatch(national) else Fit.SHAPE

    def has_shape(self, national: str) -> bool:
        """Tell whether the plan has numbers of this form and length."""
        return len(national) in self.lengths and self.shape.fullmatch(national) is not None

    def without_prefix(self, national: str) -> str:
        """Return a number without its national prefix ("0" in Germany, "8" in Russia) and carrier code.

        A prefix without which a good number turns bad is none (the rule of libphonenumber).
        """
        found = self.prefix.match(national) if self.prefix is not None else None
        if found is None:
            return national
        rule = self.prefix_rule
        if rule is None or found.re.groups == 0 or found.group(found.re.groups) is None:
            stripped = national[found.end() :]
        else:
            stripped = found.expand(rule) + national[found.end() :]
        return national if self.has_shape(national) and not self.has_shape(stripped) else stripped


# Calling code -> countries, the code's main country first. Codes of no country (+800, +870 ...) have none.
_COUNTRIES = {
    str(code): tuple(country for country in countries if country != REGION_CODE_FOR_NON_GEO_ENTITY)
    for code, countries in COUNTRY_CODE_TO_REGION_CODE.items()
}


def country_of(user: str) -> str:
    """Return the ISO country of a user, digits or business-scoped user id; UNKNOWN where no country's plan has it."""
    if user[:2].isalpha():
        return user[:2].upper()
    code = _calling_code(user)
    countries = _COUNTRIES.get(code, ())
    if len(countries) > 1:
        return _plan_of(code, user[len(code) :]).country
    return countries[0] if countries else UNKNOWN


class Recipients:
    """Reads the recipients of one business number."""

    __slots__ = ("_home",)

    def __init__(self, country_of_business: str) -> None:
        """Take the ISO country of the business number; UNKNOWN makes every number an international one."""
        self._home = _plan(country_of_business) if country_of_business in _REGIONS else None

    @classmethod
    def of_business(cls, display_phone_number: str) -> "Recipients":
        """Return the reader for a business number as it is displayed ("+1 631-555-1234")."""
        try:
            return cls(_international(_digits(display_phone_number)[1]).country)
        except RecipientError:
            return cls(UNKNOWN)

    @property
    def country(self) -> str:
        """Return the ISO country of the business number; UNKNOWN where its digits do not tell."""
        return UNKNOWN if self._home is None else self._home.country

    def resolve(self, to: str) -> Recipient:
        """Read a recipient; raises RecipientError, and nothing else, where there is none in the text.

        With plus or 00 the digits are international. Without, they are a national number of the business's country
        where they can be one; otherwise, or where they clearly are better as such, international ones. A number that
        nobody has is no error here: WhatsApp refuses it, and the hold is given back.
        """
        if to[2:3] == "." and USER_ID.fullmatch(to):
            return Recipient(to, to[:2])
        plus, digits = _digits(to)
        if plus:
            recipient = _international(digits)
        elif digits.startswith("00"):
            recipient = _international(digits[2:])
        else:
            recipient = self._without_plus(digits)
        if len(recipient.user) > MAX_DIGITS:
            raise RecipientError(f"a phone number has at most {MAX_DIGITS} digits with its country calling code")
        if not recipient.user:
            raise RecipientError("a phone number must have digits after the 00")
        return recipient

    def _without_plus(self, digits: str) -> Recipient:
        home = self._home
        if home is None:
            return _international(digits)
        code, national = home.calling_code, home.without_prefix(digits)
        plan = _plan_of(code, national)
        if digits == code + national:  # 1 650 ... from a business behind +1: both readings agree
            return Recipient(digits, plan.country)
        fit, own_code = plan.fit(national), digits.startswith(code)
        if own_code or fit < Fit.EITHER:
            recipient = _international(digits)
            other = _fit_of(recipient.user)
            # A draw goes to the full number behind the business's own calling code, since its own country is where its
            # customers are: 49 151 12345678 is no landline in the villages whose area code is 04915.
            if other >= (fit if own_code else _INTERNATIONAL_FROM[fit]):
                return recipient
        return Recipient(code + national, plan.country)


def _digits(text: str) -> tuple[bool, str]:
    """Return whether a plus stands in front of a number, and its digits."""
    bare = text.removeprefix("+")
    if bare.isascii() and bare.isdigit():  # as nearly all are written
        return bare != text, bare
    written = _WRITTEN.fullmatch(text)
    digits = _NOT_DIGITS.sub("", written[2]) if written is not None else ""
    if written is None or not digits:
        raise RecipientError("a recipient is a phone number in ASCII digits, like +16505551234, or a user id")
    return bool(written[1]), digits


def _international(digits: str) -> Recipient:
    """Read international digits. A national prefix inside them ("+49 (0)151 ...") is dropped: nobody dials it."""
    code = _calling_code(digits)
    if not _COUNTRIES.get(code):
        return Recipient(digits, UNKNOWN)
    national = digits[len(code) :]
    plan = _plan_of(code, national)
    if not plan.has_shape(national):
        main = _plans(code)[0]
        stripped = main.without_prefix(national)
        if stripped != national and main.has_shape(stripped):
            return Recipient(code + stripped, _plan_of(code, stripped).country)
    return Recipient(digits, plan.country)


def _fit_of(user: str) -> Fit:
    """Tell how well the international digits of a user fit."""
    code = _calling_code(user)
    national = user[len(code) :]
    return _plan_of(code, national).fit(national) if _COUNTRIES.get(code) else Fit.NONE


def _calling_code(digits: str) -> str:
    """Return the country calling code of international digits; no code is the beginning of another."""
    for length in (1, 2, 3):
        if (code := digits[:length]) in _COUNTRIES:
            return code
    return ""


# A recipient is looked at several times for one message, and is written to again; behind +1 there are 25 plans to ask.
@lru_cache(maxsize=16_384)
def _plan_of(code: str, national: str) -> _Plan:
    """Return the plan among those of a calling code that claims a number, and the main country's where none does.

    The order is libphonenumber's, and a number that is not in use yet is the main country's: area codes are younger
    than the library's data more often than they are made up.
    """
    plans = _plans(code)
    if len(plans) == 1:
        return plans[0]
    found = _claims(code).match(national)
    return plans[0] if found is None else plans[(found.lastindex or 1) - 1]


# The caches below are bounded by the world: about 245 countries behind 200 calling codes.


def load_plans() -> None:
    """Load the plans of the whole world now, so that no send waits for one (25 ms for the countries behind +1)."""
    for code, countries in _COUNTRIES.items():
        if countries:
            _plans(code)
        if len(countries) > 1:
            _claims(code)


@cache
def _plans(code: str) -> tuple[_Plan, ...]:
    return tuple(_plan(country) for country in _COUNTRIES[code])


@cache
def _claims(code: str) -> re.Pattern[str]:
    """Compile what the plans of a shared calling code claim, each in a group of its own: one search finds the first."""
    claims = re.compile("|".join(f"({plan.claim})" for plan in _plans(code)))
    assert claims.groups == len(_plans(code)), f"a plan behind +{code} has groups of its own"
    return claims


@cache
def _plan(country: str) -> _Plan:
    """Compile a country's plan. The library imports its metadata now, on first use."""
    metadata = PhoneMetadata.metadata_for_region(country)
    assert metadata is not None, f"phonenumbers lists {country} and has no metadata of it"
    assert metadata.general_desc is not None
    others = (
        metadata.fixed_line, metadata.toll_free, metadata.premium_rate, metadata.shared_cost, metadata.voip,
        metadata.personal_number, metadata.pager, metadata.uan, metadata.voicemail,
    )  # fmt: skip
    code, prefix = str(metadata.country_code), metadata.national_prefix_for_parsing
    lengths = frozenset(n for n in metadata.general_desc.possible_length if n + len(code) <= MAX_DIGITS)
    in_use = _pattern(metadata.mobile, *others)
    of_lengths = "|".join(rf"\d{{{length}}}" for length in sorted(lengths))
    return _Plan(
        country,
        code,
        metadata.leading_digits or rf"(?=(?:{of_lengths})\Z)(?:{in_use.pattern})\Z",
        _pattern(metadata.general_desc),
        lengths,
        in_use,
        _pattern(metadata.mobile),
        Fit.EITHER if metadata.same_mobile_and_fixed_line_pattern else Fit.MOBILE,
        re.compile(prefix) if prefix else None,
        metadata.national_prefix_transform_rule,
    )


def _pattern(*descriptions: PhoneNumberDesc | None) -> re.Pattern[str]:
    patterns = {d.national_number_pattern: None for d in descriptions if d is not None and d.national_number_pattern}
    return re.compile("|".join(f"(?:{pattern})" for pattern in patterns) or r"(?!)")


_REGIONS = frozenset(country for countries in _COUNTRIES.values() for country in countries)
