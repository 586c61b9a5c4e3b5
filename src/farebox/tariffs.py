"""The tariffs that are loaded: which one is in force for a number at a moment."""

from dataclasses import dataclass
from datetime import UTC, date, datetime
from functools import lru_cache
from pathlib import Path
from zoneinfo import ZoneInfo

from farebox.core.in_force import InForce
from farebox.core.tariff import Tariff, UnpricedError
from farebox.directory import Number
from farebox.tariff_files import AUTO, load_folder

MAX_KEPT = 2_000  # kinds of numbers whose prices of a day are kept at hand, a few kB each; a bound on memory
MINUTE_MS = 60_000
NEVER_MS = 2**63


@dataclass(frozen=True, slots=True)
class _Kept:
    """What prices messages on a day, in the span of it in which nothing of the business account changes."""

    in_force: InForce
    since_ms: int
    until_ms: int


class Tariffs:
    """All tariffs, by name and by date; read again when their files change."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._by_date: list[Tariff] = []
        self._by_name: dict[str, Tariff] = {}
        self._seen: object = None
        self._kept: dict[tuple[object, ...], _Kept] = {}  # by the day, and all of a number that prices depend on
        self.reload()

    def reload(self) -> bool:
        """Read the files again if any has changed; tell whether they were read.

        Raises TariffError where one is wrong, once for each change: the tariffs that were loaded before stay in force.
        """
        stats = [(str(file), file.stat()) for file in self._folder.rglob("*.*")]
        seen = sorted((name, stat.st_mtime_ns, stat.st_size) for name, stat in stats)
        if seen == self._seen:
            return False
        self._seen = seen
        tariffs = load_folder(self._folder)
        self._by_date = sorted(tariffs, key=lambda tariff: tariff.effective_from, reverse=True)
        self._by_name = {tariff.name: tariff for tariff in tariffs}
        self._kept = {}  # behind the tariffs: who looks one up meanwhile, in another thread, keeps it in the old one
        return True

    def __contains__(self, name: str) -> bool:
        return name == AUTO or name in self._by_name

    @property
    def names(self) -> list[str]:
        """Return the names of all tariffs, the latest first."""
        return [tariff.name for tariff in self._by_date]

    def free_entry_point_ms(self, name: str) -> int:
        """Return how long a free entry point lasts in a regime; 0 where it is no longer loaded."""
        return self._by_name[name].free_entry_point_ms if name in self._by_name else 0

    def at(self, number: Number, now_ms: int) -> InForce:
        """Return what prices a number's messages at a moment.

        Everything switches at midnight in the time zone of the WhatsApp Business Account. Before the first regime that
        is loaded, that one is taken. Raises UnpricedError where the number's own regime is not loaded, or has no card
        in its currency.
        """
        day, everything = local_day(now_ms, number.zone), self._kept
        # Numbers that are alike in this share it, with every price that was worked out for one of them.
        alike = (day, number.regime, number.currency, number.markup, number.abroad, number.volume)
        kept = everything.get(alike)
        if kept is not None and kept.since_ms <= now_ms < kept.until_ms:
            return kept.in_force
        tariff = self.of(number.regime, day)
        in_force = InForce(
            tariff, tariff.card(number.currency, day), day, number.markup, now_ms, number.abroad, number.volume
        )
        if len(everything) >= MAX_KEPT:
            everything.clear()
        everything[alike] = _Kept(in_force, *_span(number, now_ms))
        return in_force

    def regime_at(self, number: Number, now_ms: int) -> tuple[Tariff, date]:
        """Return a number's regime at a moment, and its day: all that windows and pools need, card or no card."""
        day = local_day(now_ms, number.zone)
        return self.of(number.regime, day), day

    def of(self, regime: str, day: date) -> Tariff:
        """Return a regime's tariff on a day; raises UnpricedError where it is not loaded."""
        if regime == AUTO:
            return next((t for t in self._by_date if t.effective_from <= day), self._by_date[-1])
        if regime not in self._by_name:
            raise UnpricedError(f"the number is pinned to the regime {regime}, which is not loaded")
        return self._by_name[regime]


def _span(number: Number, now_ms: int) -> tuple[int, int]:
    """Return since when and until when what WhatsApp said about a number's account stays as it is now."""
    moments = [*number.abroad.starts.values()]
    moments += [since_ms for tiers in number.volume.tiers.values() for since_ms, _ in tiers]
    since_ms = max((moment for moment in moments if moment <= now_ms), default=-NEVER_MS)
    return since_ms, min((moment for moment in moments if moment > now_ms), default=NEVER_MS)


def local_day(now_ms: int, zone: ZoneInfo) -> date:
    """Return the day of a moment in a time zone."""
    return _day_of_minute(now_ms // MINUTE_MS, zone)


# Zones differ from UTC by whole minutes since 1972, and change by such at whole minutes: no day begins within one.
@lru_cache(maxsize=1_024)
def _day_of_minute(minute: int, zone: ZoneInfo) -> date:
    return datetime.fromtimestamp(minute * MINUTE_MS / 1000, UTC).astimezone(zone).date()
