"""Whether a number's currency can be priced, and if not, which file is missing."""

from zoneinfo import ZoneInfo

from farebox.admin.problems import ProblemError
from farebox.core.tariff import Tariff
from farebox.gate import Gate


def check_rate_card(gate: Gate, regime: str, currency: str, timezone: str) -> None:
    """Raise a problem unless the regime exists and has a rate card in the currency."""
    if regime not in gate.tariffs:
        raise ProblemError(
            422, f'regime: there is no tariff "{regime}"; use "auto" or the name of a tariff in the tariffs folder.'
        )
    known = gate.tariffs.currencies(regime)
    if currency in known:
        return
    tariff, _ = gate.tariffs.at(regime, gate.clock.now_ms(), ZoneInfo(timezone))
    raise ProblemError(
        422,
        f"currency: the tariff {tariff.name} has no rate card in {currency}; add {_missing_file(tariff, currency)} to "
        f"the tariffs folder and name it under [cards] in {tariff.name}.toml, or use {' or '.join(sorted(known))}.",
    )


def _missing_file(tariff: Tariff, currency: str) -> str:
    """Return what the rate card would be called beside its siblings, `rates/pmp_usd_2026-10-01.csv`."""
    for other, card in tariff.cards.items():
        for rate in card.values():
            file = rate.source.rpartition(":")[0]
            if f"_{other.lower()}_" in file:
                return file.replace(f"_{other.lower()}_", f"_{currency.lower()}_")
    return f"a rate card for {currency}"
