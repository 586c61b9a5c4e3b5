"""How long the country and the market of a recipient take, and how often a number without a plus is misread.

Run by hand: PYTHONPATH=tests .venv/bin/python -m benchmarks.markets
"""

import random
import resource
import sys
import time
from collections.abc import Callable, Iterable
from datetime import date

import_started = time.perf_counter()
import phonenumbers  # noqa: E402

IMPORT_MS = (time.perf_counter() - import_started) * 1e3

from farebox.assets import asset  # noqa: E402
from farebox.core import recipient as plans  # noqa: E402
from farebox.core.recipient import Recipients, country_of  # noqa: E402
from farebox.tariffs import Tariffs  # noqa: E402

RECIPIENTS = 1_000_000
SEED = 20261001
LARGE = "IN BR ID MX US DE GB ES IT FR TR AR CO PE CL ZA NG EG SA AE PK MY NL RU AU SG HK PL RO IL PH VN TH JP"


def say(line: str) -> None:
    sys.stdout.write(line + "\n")


def memory_kb() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def digits(dice: random.Random, length: int) -> str:
    return f"{dice.randrange(10**length):0{length}d}"


def of_the_world(dice: random.Random, count: int) -> list[str]:
    """Return numbers behind every calling code, most of which nobody has: the slowest to tell apart."""
    codes = sorted(plans._COUNTRIES)
    return [(code := dice.choice(codes)) + digits(dice, dice.randint(7, 14 - len(code))) for _ in range(count)]


def north_american(dice: random.Random, count: int) -> list[str]:
    return [f"1{dice.randrange(2_000_000_000, 10_000_000_000)}" for _ in range(count)]


def measure(what: str, call: Callable[[str], object], arguments: Iterable[str], count: int) -> None:
    before_kb, started = memory_kb(), time.perf_counter()
    for argument in arguments:
        call(argument)
    took_us = (time.perf_counter() - started) / count * 1e6
    say(f"{what:52} {took_us:6.2f} us   {memory_kb() - before_kb:6d} kB more")


def mobiles(dice: random.Random, country: str) -> list[str]:
    """Return international digits of mobile phones that a country has, spread over its plan."""
    example = phonenumbers.example_number_for_type(country, phonenumbers.PhoneNumberType.MOBILE)
    assert example is not None
    plan, national = plans._plan(country), phonenumbers.national_significant_number(example)
    drawn = {national[:2] + digits(dice, len(national) - 2) for _ in range(200)}
    found = [n for n in sorted(drawn) if plan.mobile.fullmatch(n) and country_of(plan.calling_code + n) == country]
    return [plan.calling_code + n for n in found[:20]]


def misread(dice: random.Random) -> None:
    """Count what the numbers of 34 large countries, without a plus, are taken for by businesses of the same 34."""
    numbers = {country: mobiles(dice, country) for country in LARGE.split()}
    full = full_wrong = literal_wrong = national = national_wrong = 0
    for home, own in numbers.items():
        reader, plan = Recipients(home), plans._plan(home)
        for user in (user for users in numbers.values() for user in users):
            full += 1
            full_wrong += reader.resolve(user).user != user
            stripped = plan.without_prefix(user)
            literal_wrong += plan.has_shape(stripped) and plan.calling_code + stripped != user
        for user in own:
            national += 1
            national_wrong += reader.resolve(user.removeprefix(plan.calling_code)).user != user
    say(f"\nfull mobile numbers without a plus: {full}, misread {full_wrong / full:.1%}")
    say(f"the same, were any national form taken as national: misread {literal_wrong / full:.1%}")
    say(f"national mobile numbers: {national}, misread {national_wrong / national:.1%}")


def main() -> None:
    say(f"import phonenumbers: {IMPORT_MS:.0f} ms")
    started, before_kb = time.perf_counter(), memory_kb()
    country_of("16505551234")
    say(f"first number behind +1: {(time.perf_counter() - started) * 1e3:.0f} ms")
    plans.load_plans()
    took_ms = (time.perf_counter() - started) * 1e3
    say(f"plans of {plans._plan.cache_info().currsize} countries: {took_ms:.0f} ms, {memory_kb() - before_kb} kB\n")
    dice = random.Random(SEED)
    tariffs = Tariffs(asset("config/tariffs"))
    markets = tariffs.of(tariffs.names[0], date.max).markets[0][1]
    world, american = of_the_world(dice, RECIPIENTS), north_american(dice, RECIPIENTS)
    measure("market of a user, world", markets.of, world, RECIPIENTS)
    measure("market of a user, +1", markets.of, american, RECIPIENTS)
    for home in ("DE", "IN", "US"):
        reader = Recipients(home)
        measure(f"resolve, business in {home}, world, no plus", reader.resolve, world, RECIPIENTS)
        measure(f"resolve, business in {home}, +1, no plus", reader.resolve, american, RECIPIENTS)
    written = (f"+{user[:3]} ({user[3:6]}) {user[6:]}" for user in world)
    measure("resolve, with plus and punctuation", Recipients("DE").resolve, written, RECIPIENTS)
    misread(dice)


if __name__ == "__main__":
    main()
