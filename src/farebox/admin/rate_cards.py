"""Whether a number's currency can be priced, and if not, which file is missing."""

from zoneinfo import ZoneInfo

from farebox.admin.problems import ProblemError
from farebox.gate import Gate
from farebox.tariffs import local_day


def check_rate_card(gate: Gate, regime: str, currency: str, timezone: str) -> None:
    """Raise a problem unless the regime exists and has a rate card in the currency."""
    if regime not in gate.tariffs:
        raise ProblemError(
            422, f'regime: there is no tariff "{regime}"; use "auto" or the name of a tariff in the tariffs folder.'
        )
    tariff = gate.tariffs.of(regime, local_day(gate.clock.now_ms(), ZoneInfo(timezone)))
    if currency in tariff.cards:
        return
    missing = f"rates/{tariff.cards_name}_{currency.lower()}_{tariff.effective_from}.csv"
    raise ProblemError(
        422,
        f"currency: the tariff {tariff.name} has no rate card in {currency}; add {missing} to the tariffs folder, "
        f"or use {' or '.join(sorted(tariff.cards))}.",
    )
