import re

import phonenumbers
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from phonenumbers import SUPPORTED_REGIONS, PhoneMetadata, PhoneNumberType

from farebox.core import recipient
from farebox.core.recipient import MAX_DIGITS, UNKNOWN, Recipient, RecipientError, Recipients, country_of

# country of the business, what the client wrote -> user, country
WITH_PLUS = [
    ("US", "+16505551234", "16505551234", "US"),
    ("DE", "+1 (650) 555-1234", "16505551234", "US"),
    ("DE", "+14165551234", "14165551234", "CA"),
    ("US", "+18765551234", "18765551234", "JM"),
    ("US", "+16585551234", "16585551234", "JM"),
    ("US", "+12425551234", "12425551234", "BS"),
    ("US", "+18295551234", "18295551234", "DO"),
    ("US", "+19395551234", "19395551234", "PR"),
    ("US", "+1 441 555 1234", "14415551234", "BM"),
    ("US", "+15550783881", "15550783881", "US"),  # Meta's test numbers: an area code that nobody has
    ("US", "+79161234567", "79161234567", "RU"),
    ("US", "+77011234567", "77011234567", "KZ"),
    ("US", "+447400123456", "447400123456", "GB"),
    ("US", "+447781123456", "447781123456", "GG"),
    ("US", "+447797712345", "447797712345", "JE"),
    ("US", "+441624756789", "441624756789", "IM"),
    ("US", "+390612345678", "390612345678", "IT"),  # Italian landlines keep their 0
    ("US", "+390669812345", "390669812345", "VA"),
    ("US", "+4791234567", "4791234567", "NO"),
    ("US", "+4779123456", "4779123456", "SJ"),
    ("US", "+358181234567", "358181234567", "AX"),
    ("US", "+358412345678", "358412345678", "FI"),
    ("US", "+61891641234", "61891641234", "CX"),
    ("US", "+61412345678", "61412345678", "AU"),
    ("US", "+590690001234", "590690001234", "GP"),
    ("US", "+262692123456", "262692123456", "RE"),
    ("US", "+262639012345", "262639012345", "YT"),
    ("US", "+596696201234", "596696201234", "MQ"),
    ("US", "+59995181234", "59995181234", "CW"),
    ("US", "+5993181234", "5993181234", "BQ"),
    ("US", "+212650123456", "212650123456", "MA"),
    ("US", "+212528812345", "212528812345", "MA"),  # Western Sahara, which the library leaves to Morocco
    ("US", "+5215512345678", "5215512345678", "MX"),  # known unsure: the digits are left alone
    ("US", "+559281723241", "559281723241", "BR"),  # known unsure: without the ninth digit
    ("US", "+49 (0)151 12345678", "4915112345678", "DE"),
    ("US", "+54 11 15 1234 5678", "5491112345678", "AR"),
    ("US", "004915112345678", "4915112345678", "DE"),
    ("US", "00 49 / 151.12345678", "4915112345678", "DE"),
    ("US", "tel:+4915112345678", "4915112345678", "DE"),
    ("US", " +49\u00a0151\u201112345678\u202c", "4915112345678", "DE"),  # copied from a contact
    ("US", "+881612345678", "881612345678", UNKNOWN),  # a satellite phone
    ("US", "+999123", "999123", UNKNOWN),
    ("US", "+1", "1", "US"),
    ("US", "+491", "491", "DE"),
]
WITHOUT_PLUS = [
    ("IN", "(631) 555-1234", "916315551234", "IN"),  # the example of Meta's documentation
    ("IN", "9876543210", "919876543210", "IN"),
    ("IN", "09876543210", "919876543210", "IN"),
    ("IN", "919876543210", "919876543210", "IN"),
    ("IN", "9198765432", "919198765432", "IN"),  # begins with 91, and is ten digits long
    ("IN", "16505551234", "16505551234", "US"),
    ("IN", "4915112345678", "4915112345678", "DE"),
    ("DE", "0151 12345678", "4915112345678", "DE"),
    ("DE", "15112345678", "4915112345678", "DE"),
    ("DE", "4915112345678", "4915112345678", "DE"),
    ("DE", "493012345678", "493012345678", "DE"),
    ("DE", "030 12345678", "493012345678", "DE"),
    ("DE", "447400123456", "447400123456", "GB"),  # a landline in Lower Saxony, or rather a mobile phone in Britain
    ("DE", "16505551234", "16505551234", "US"),
    ("US", "(650) 555-1234", "16505551234", "US"),
    ("US", "16505551234", "16505551234", "US"),
    ("US", "1-650-555-1234", "16505551234", "US"),
    ("US", "876 555 1234", "18765551234", "JM"),
    ("US", "4915112345678", "4915112345678", "DE"),
    ("US", "6598765432", "16598765432", "US"),  # Alabama, by Meta's rule, though it could be Singapore
    ("US", "4520123456", "4520123456", "DK"),  # 452 is no area code
    ("BR", "11987654321", "5511987654321", "BR"),
    ("BR", "011987654321", "5511987654321", "BR"),
    ("BR", "0 15 11 98765-4321", "5511987654321", "BR"),  # with the carrier to be taken
    ("BR", "5511987654321", "5511987654321", "BR"),
    ("BR", "55999998888", "5555999998888", "BR"),  # the area code 55
    ("BR", "9281723241", "559281723241", "BR"),
    ("ID", "62811234567", "62811234567", "ID"),
    ("ID", "0811234567", "62811234567", "ID"),
    ("RU", "89161234567", "79161234567", "RU"),
    ("RU", "87011234567", "77011234567", "KZ"),
    ("KZ", "79161234567", "79161234567", "RU"),
    ("IT", "0612345678", "390612345678", "IT"),
    ("IT", "3331234567", "393331234567", "IT"),
    ("MX", "5512345678", "525512345678", "MX"),
    ("MX", "5215512345678", "5215512345678", "MX"),
    ("DE", "123", "123", "US"),  # too short to be anybody's; WhatsApp says so
    ("US", "0", "0", UNKNOWN),
    ("US", "011491511234", "011491511234", UNKNOWN),  # dialled as from an American telephone: not Meta's form
    (UNKNOWN, "6505551234", "6505551234", "SG"),  # of a business nothing is known of: international
    (UNKNOWN, "16505551234", "16505551234", "US"),
    ("XX", "4915112345678", "4915112345678", "DE"),
]
USER_IDS = [
    ("IN", "US.13491208655302741918", "US.13491208655302741918", "US"),
    ("IN", "US.ENT.13491208655302741918", "US.ENT.13491208655302741918", "US"),
    ("US", "DE.aB3", "DE.aB3", "DE"),
    ("US", "KZ.8765551234", "KZ.8765551234", "KZ"),
]


@pytest.mark.parametrize(("home", "to", "user", "country"), [*WITH_PLUS, *WITHOUT_PLUS, *USER_IDS])
def test_recipients(home: str, to: str, user: str, country: str) -> None:
    assert Recipients(home).resolve(to) == Recipient(user, country)
    assert country_of(user) == country


JUNK = [
    "",
    " ",
    "+",
    "00",
    "()-",
    "bob",
    "1-800-FLOWERS",
    "+1 650 555 1234 ext. 5",
    "+1 650 555 1234 +",
    "++16505551234",
    "1+6505551234",
    "tel:",
    "whatsapp:+16505551234",
    "us.1349",
    "USA.1349",
    "US.",
    "US.13-49",
    "US." + "1" * 129,
    "\u0661\u0666\u0665\u0660\u0665\u0665\u0665\u0661\u0662\u0663\u0664",  # Arabic digits
    "\uff0b16505551234",  # a full-width plus
    "+1650555123\u00b2",
    "1" * (MAX_DIGITS + 1),
    "+" + "4" * (MAX_DIGITS + 1),
    "0" * 40,
]


@pytest.mark.parametrize("to", JUNK)
def test_what_is_no_recipient_is_refused_in_one_sentence(to: str) -> None:
    with pytest.raises(RecipientError) as caught:
        Recipients("US").resolve(to)
    assert len(str(caught.value)) < 100


@pytest.mark.parametrize(
    ("displayed", "to", "user"),
    [
        ("+91 98765 43210", "9123456789", "919123456789"),
        ("919876543210", "9123456789", "919123456789"),
        ("+1 631-555-1234", "650 555 1234", "16505551234"),
        ("", "9123456789", "9123456789"),
        ("not yet known", "9123456789", "9123456789"),
    ],
)
def test_the_business_is_known_by_the_number_it_displays(displayed: str, to: str, user: str) -> None:
    assert Recipients.of_business(displayed).resolve(to).user == user


def test_the_country_is_the_one_that_the_library_finds() -> None:
    """Our compiled plans are to be a faster way to libphonenumber's answer, not another answer."""
    checked = 0
    for country in sorted(SUPPORTED_REGIONS):
        for kind in PhoneNumberType.values():
            number = phonenumbers.example_number_for_type(country, kind)
            if number is None:
                continue
            user = phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164).removeprefix("+")
            assert country_of(user) == phonenumbers.region_code_for_number(number), user
            assert Recipients(UNKNOWN).resolve(user).user == user
            checked += 1
    assert checked > 1000


SHARED = [code for code, countries in recipient._COUNTRIES.items() if len(countries) > 1]


@given(st.sampled_from(SHARED), st.integers(0, 14).flatmap(lambda n: st.text("0123456789", min_size=n, max_size=n)))
@example("1", "2425551234")
@example("1", "6505551234\n")
@example("1", "65055512345")
@example("7", "701123456")
@example("590", "690001234")
def test_one_search_finds_the_first_country_that_claims_a_number(code: str, national: str) -> None:
    plans = recipient._plans(code)

    def claims(plan: recipient._Plan) -> bool:
        leading = PhoneMetadata.metadata_for_region(plan.country).leading_digits
        if leading:
            return re.match(leading, national) is not None
        return len(national) in plan.lengths and plan.in_use.fullmatch(national) is not None

    assert recipient._plan_of(code, national) is next((plan for plan in plans if claims(plan)), plans[0])


MOBILES = {c: phonenumbers.example_number_for_type(c, PhoneNumberType.MOBILE) for c in sorted(SUPPORTED_REGIONS)}


@pytest.mark.parametrize("country", [country for country, number in MOBILES.items() if number is not None])
def test_a_mobile_number_is_read_as_its_country_writes_it(country: str) -> None:
    number = MOBILES[country]
    assert number is not None
    user = phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164).removeprefix("+")
    national = phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.NATIONAL)
    reader = Recipients(country)
    assert reader.resolve(national).user == user
    assert reader.resolve(user).user == user


HOMES = st.sampled_from([UNKNOWN, *sorted(SUPPORTED_REGIONS)])
NUMBERS = st.from_regex(r"(\+|00)?[0-9]{1,15}", fullmatch=True)
ODD = st.text(alphabet=st.sampled_from("0123456789+ -.()/USE\u00a0\u0661telx"), max_size=24)


@given(HOMES, NUMBERS | ODD | st.text(max_size=40))
def test_one_error_only_and_what_is_read_once_is_read_so_again(home: str, to: str) -> None:
    try:
        recipient = Recipients(home).resolve(to)
    except RecipientError:
        return
    assert recipient.user
    assert country_of(recipient.user) == recipient.country
    if recipient.user.isdigit():
        assert recipient.user.isascii()
        assert len(recipient.user) <= MAX_DIGITS
        assert Recipients(home).resolve("+" + recipient.user) == recipient


@given(HOMES, NUMBERS, st.lists(st.tuples(st.integers(0, 18), st.sampled_from(" -.()/[]\u00a0\u2011\u202a"))))
@example("DE", "+490151", [(3, "("), (5, ")")])
def test_punctuation_changes_nothing(home: str, to: str, marks: list[tuple[int, str]]) -> None:
    written = to
    for place, mark in marks:
        written = written[:place] + mark + written[place:]
    assert outcome(home, written) == outcome(home, to)


def outcome(home: str, to: str) -> Recipient | None:
    try:
        return Recipients(home).resolve(to)
    except RecipientError:
        return None
