"""How long money lasts at this pace, and what a period will have cost at its end.

The pace is read from whole days: a mean for each weekday, and how far days stray from it. An expectation over n days
strays by that times the root of n, and by n times the error of the mean itself; the range holds in about four of five
cases (1.28 standard deviations). Fewer than a week of days say nothing about a week, so then there is no forecast.

Times are local wall time of the number: days begin at midnight there. Amounts are micro-units.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from math import isqrt

MIN_DAYS = 7  # one of each weekday
WEEKDAY_DAYS = 14  # from two of each weekday on, weekdays differ; before, all days are alike
HISTORY_DAYS = 28  # four of each weekday: enough to see a week, recent enough to be this pace
HORIZON_DAYS = 366  # past a year nobody plans by a pace of four weeks
DAY = timedelta(days=1)
_BAND_PERCENT = 128  # of a standard deviation: four of five


@dataclass(frozen=True, slots=True)
class TooLittle:
    """There are too few days for a forecast."""

    days: int
    needed: int = MIN_DAYS


@dataclass(frozen=True, slots=True)
class Lasts:
    """When the money runs out: expected, and the range; None: not within the horizon."""

    expected: datetime | None
    earliest: datetime | None
    latest: datetime | None


@dataclass(frozen=True, slots=True)
class Projected:
    """What a period will have cost at its end, with the range."""

    low_micros: int
    expected_micros: int
    high_micros: int


@dataclass(frozen=True, slots=True)
class Pace:
    """What is spent a day."""

    by_weekday: tuple[int, ...]  # micro-units, Monday first
    spread_micros: int  # the standard deviation of a day
    days: int  # that it was read from

    def of_day(self, day: date) -> int:
        """Return what a day is expected to cost."""
        return self.by_weekday[day.weekday()]

    def band_micros(self, ahead: timedelta) -> int:
        """Return how far the sum over a time ahead may stray to either side."""
        minutes = ahead // timedelta(minutes=1)
        variance = self.spread_micros**2
        # n days stray by spread^2 * n, the mean's own error adds spread^2 * n^2 / days.
        total = variance * minutes // 1440 + variance * minutes**2 // (1440**2 * self.days)
        return isqrt(total) * _BAND_PERCENT // 100


def read_pace(spent: Sequence[tuple[date, int]]) -> Pace | TooLittle:
    """Read the pace from whole days, oldest first, each with what was spent; it begins with the first that cost."""
    first = next((index for index, (_, micros) in enumerate(spent) if micros), len(spent))
    days = spent[first:][-HISTORY_DAYS:]
    if len(days) < MIN_DAYS:
        return TooLittle(len(days))
    mean = sum(micros for _, micros in days) // len(days)
    by_weekday = [mean] * 7
    if len(days) >= WEEKDAY_DAYS:
        for weekday in range(7):
            of_weekday = [micros for day, micros in days if day.weekday() == weekday]
            by_weekday[weekday] = sum(of_weekday) // len(of_weekday)
    strayed = sum((micros - by_weekday[day.weekday()]) ** 2 for day, micros in days)
    return Pace(tuple(by_weekday), isqrt(strayed // (len(days) - 1)), len(days))


def lasts(pace: Pace, available_micros: int, now: datetime) -> Lasts:
    """Return when the available money runs out if the pace stays."""

    def out(side: int) -> datetime | None:
        before = 0
        for start, end, micros in _days(pace, now, now + HORIZON_DAYS * DAY):
            spent = micros + side * pace.band_micros(end - now)
            if spent >= available_micros:
                grown = spent - before
                share = max(available_micros - before, 0) * 1440 // grown if grown > 0 else 0
                return start + (end - start) * share // 1440
            before = max(before, spent)
        return None

    if available_micros <= 0:
        return Lasts(now, now, now)
    return Lasts(out(0), out(1), out(-1))


def project(pace: Pace, so_far_micros: int, now: datetime, end: datetime) -> Projected:
    """Return what a period that ends then will have cost: what it has cost so far, and the pace for what is left."""
    ahead_micros = 0
    for _, _, micros in _days(pace, now, end):
        ahead_micros = micros
    band_micros = min(pace.band_micros(max(end - now, timedelta())), ahead_micros)
    expected_micros = so_far_micros + ahead_micros
    return Projected(expected_micros - band_micros, expected_micros, expected_micros + band_micros)


def projected_days(pace: Pace, so_far_micros: int, now: datetime, end: datetime) -> Iterator[tuple[date, Projected]]:
    """Walk to the end of a period: for each day, today first, what will have been spent when it ends."""
    for start, until, micros in _days(pace, now, end):
        band_micros = min(pace.band_micros(until - now), micros)
        expected_micros = so_far_micros + micros
        yield (
            start.date(),
            Projected(expected_micros - band_micros, expected_micros, expected_micros + band_micros),
        )


def _days(pace: Pace, now: datetime, end: datetime) -> Iterator[tuple[datetime, datetime, int]]:
    """Yield start and end of each day from now on, and what will have been spent since now by then."""
    spent_micros, start = 0, now
    while start < end:
        until = min(datetime.combine(start.date() + DAY, time(), start.tzinfo), end)
        spent_micros += pace.of_day(start.date()) * ((until - start) // timedelta(minutes=1)) // 1440
        yield start, until, spent_micros
        start = until
