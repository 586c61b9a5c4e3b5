import csv
import shutil
from collections.abc import Callable
from datetime import date
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from farebox import metrics
from farebox.app import reload_tariffs
from farebox.assets import asset
from farebox.card_files import CATEGORIES
from farebox.core.money import parse_micros
from farebox.core.tariff import UnpricedError, rate_of
from farebox.gate import Gate
from farebox.tariff_files import TariffError, load_folder
from farebox.tariffs import Tariffs

SHIPPED = asset("config/tariffs")


CARDS = [
    ("pmp-2026-10", "USD", "2026-10-01", "pmp_usd_2026-10-01.csv", 47),
    ("pmp-2026-10", "COP", "2026-10-01", "pmp_cop_2026-10-01.csv", 47),
    ("pmp-2025-07", "USD", "2026-07-01", "pmp_usd_2026-07-01.csv", 38),
    ("pmp-2025-07", "EUR", "2026-07-01", "pmp_eur_2026-07-01.csv", 38),
    ("pmp-2025-07", "USD", "2025-10-01", "pmp_usd_2025-10-01.csv", 32),
    ("cbp-2024-11", "USD", "2024-11-01", "cbp_usd_2024-11-01.csv", 32),
]


@pytest.mark.parametrize(("regime", "currency", "day", "file", "markets"), CARDS)
def test_every_cell_of_every_card_is_loaded_and_blank_is_not_zero(
    regime: str, currency: str, day: str, file: str, markets: int
) -> None:
    card = Tariffs(SHIPPED).of(regime, date.max).card(currency, date.fromisoformat(day))
    lines = (SHIPPED / "rates" / file).read_text().splitlines()
    rows = list(csv.DictReader(line for line in lines if not line.startswith("#")))
    assert len(rows) == markets
    for row in rows:
        for category in CATEGORIES:
            if row[category]:
                rate = rate_of(card, row["market"], category)
                assert rate.micros == parse_micros(row[category])
                name, line = rate.source.split(":")
                assert name == f"rates/{file}"
                assert lines[int(line) - 1].startswith(row["market"])
            else:
                with pytest.raises(UnpricedError):
                    rate_of(card, row["market"], category)


def test_every_card_that_is_shipped_is_tested() -> None:
    shipped = {path.name for path in (SHIPPED / "rates").glob("*.csv") if "tiers" not in path.name}
    assert shipped == {file for *_, file, _ in CARDS}


def test_a_card_with_a_future_date_takes_effect_without_a_restart(tmp_path: Path) -> None:
    folder = tmp_path / "tariffs"
    shutil.copytree(SHIPPED, folder)
    tariffs = Tariffs(folder)
    assert tariffs.reload() is False
    text = (folder / USD).read_text().replace("Argentina,USD,0.0618", "Argentina,USD,0.0700")
    (folder / "rates/pmp_usd_2027-01-01.csv").write_text(text)
    assert tariffs.reload() is True
    tariff = tariffs.of("pmp-2026-10", date.max)
    for day, micros in (("2026-12-31", 61_800), ("2027-01-01", 70_000)):
        assert rate_of(tariff.card("USD", date.fromisoformat(day)), "Argentina", "marketing").micros == micros


def test_a_wrong_file_leaves_what_was_loaded_in_force(tmp_path: Path) -> None:
    folder = tmp_path / "tariffs"
    shutil.copytree(SHIPPED, folder)
    tariffs = Tariffs(folder)
    (folder / USD).write_text("nonsense")
    with pytest.raises(TariffError):
        tariffs.reload()
    assert "pmp-2026-10" in tariffs


def test_a_wrong_file_is_said_once_and_counted_until_it_is_right(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "tariffs"
    shutil.copytree(SHIPPED, folder)
    gate = SimpleNamespace(tariffs=Tariffs(folder))
    right = (folder / USD).read_text()
    (folder / USD).write_text(right.replace("Argentina,USD,0.0618", "Argentina,USD,x").replace("0.0034", "y", 1))
    for _ in range(2):
        reload_tariffs(cast("Gate", gate))
        assert metrics.TARIFF_ERRORS._value.get() == 2
    assert [record.levelname for record in caplog.records] == ["ERROR", "ERROR"]
    assert "pmp_usd_2026-10-01.csv:4: " in caplog.text
    (folder / USD).write_text(right + "\n")
    reload_tariffs(cast("Gate", gate))
    assert metrics.TARIFF_ERRORS._value.get() == 0


REGIME = "pmp-2026-10.toml"
USD = "rates/pmp_usd_2026-10-01.csv"


def replaced(file: str, old: str, new: str) -> Callable[[Path], object]:
    def change(folder: Path) -> None:
        text = (folder / file).read_text()
        assert old in text
        (folder / file).write_text(text.replace(old, new, 1))

    return change


MISTAKES = [
    (replaced(REGIME, "name =", "name"), "not valid TOML"),
    (replaced(REGIME, "effective_from", "effectiv_from"), "effective"),
    (replaced(REGIME, 'when = "always"', 'when = "sometimes"'), "when"),
    (replaced(REGIME, "reaction = [", "reactions = ["), "reaction"),
    (replaced(REGIME, 'rate = "service"', 'rate = "sevice"'), "rate must be one of"),
    (replaced(REGIME, 'class = "paid", rate = "utility", ', 'class = "paid", '), "a paid term needs a rate"),
    (replaced(REGIME, '{ when = "always", class = "free"', '{ when = "pool", class = "free"'), "must end with a term"),
    (replaced(REGIME, "size = 1000", "size = -1"), "pool.size"),
    (replaced(REGIME, 'class = "free", why = "the number', 'why = "the number'), "every term has a class"),
    (replaced(REGIME, 'when = "pool"', 'when = "conversation"'), "rides a conversation"),
    (replaced("cbp-2023-06.toml", 'of = ["utility"], ', ""), "goes with of"),
    (replaced("cbp-2023-06.toml", 'reaction = "service"', 'reaction = "direct_utility"'), "no terms of its own"),
    (replaced(REGIME, 'name = "pmp"\n', 'name = "ppm"\n'), "no rate card"),
    (replaced(USD, "0.0618", "0.06.18"), r"usd_2026-10-01\.csv:4"),
    (replaced(USD, "0.0618", "-0.0618"), "negative"),
    (replaced(USD, "Argentina,USD", "Argentina,EUR"), "currency is EUR"),
    (replaced(USD, "0.0618", ""), "no marketing rate for Argentina"),
    (replaced(USD, "Argentina,USD,", "Argentina,USD,,"), "csv:4: the row has not as many cells"),
    (replaced(USD, "market,currency", "region,currency"), "column market is missing"),
    (replaced("markets.csv", "AR,54,", "AR,54x,"), "must be digits"),
    (replaced("markets.csv", "AR,54,2023-06-01", "AR,54,soon"), "markets.csv:5"),
    (lambda folder: (folder / "markets.csv").unlink(), "No such file"),
    (lambda folder: [file.unlink() for file in folder.glob("*.toml")], "no tariff"),
]


@pytest.mark.parametrize(("spoil", "said"), MISTAKES)
def test_a_mistake_is_named_with_its_file(spoil: Callable[[Path], object], said: str, tmp_path: Path) -> None:
    folder = tmp_path / "tariffs"
    shutil.copytree(SHIPPED, folder)
    spoil(folder)
    with pytest.raises(TariffError, match=said):
        load_folder(folder)


def test_every_tier_that_is_shipped_is_loaded() -> None:
    card = Tariffs(SHIPPED).of("pmp-2026-10", date.max).card("USD", date(2026, 10, 1))
    lines = (SHIPPED / "rates/pmp_usd_2026-10-01_volume_tiers.csv").read_text().splitlines()
    rows = list(csv.DictReader(line for line in lines if not line.startswith("#")))
    assert sum(map(len, card.tiers.values())) == len(rows)
    for row in rows:
        (tier,) = [one for one in card.tiers[row["market"], row["category"]] if one.lower == int(row["tier_from"])]
        assert tier.rate.micros == parse_micros(row["rate"])
        assert lines[int(tier.rate.source.split(":")[1]) - 1].startswith(row["market"])


FIRST, SECOND = "Argentina,utility,USD,0,100000", "Argentina,utility,USD,100001,1000000,Tier rate,0.0247"
LAST = "Argentina,utility,USD,30000001,MAX"
TIER_MISTAKES = [
    (FIRST, "Argentina,utility,EUR,0,100000", "has no utility rate for Argentina in EUR"),
    (FIRST, "Atlantis,utility,USD,0,100000", "has no utility rate for Atlantis"),
    (FIRST, "Argentina,utility,USD,1,100000", "begin where the one before it ended, the first one at 0"),
    (FIRST, "Argentina,utility,USD,0,100001", "begin where the one before it ended"),
    (FIRST, "Argentina,utility,USD,0,MAX", "begin where the one before it ended"),
    (FIRST, "Argentina,utility,USD,zero,100000", "invalid literal"),
    (SECOND, SECOND.replace("0.0247", "0.0261"), "can not be dearer"),
    (SECOND, SECOND.replace("0.0247", "-0.01"), "can not be dearer"),
    (SECOND, SECOND.replace("0.0247", "cheap"), "is not an amount"),
    (LAST, LAST.replace("MAX", "40000000"), "must go up to MAX"),
    ("List rate,0.0260", "List rate,0.0259", "must be the card's list rate"),
]


@pytest.mark.parametrize(("right", "wrong", "complaint"), TIER_MISTAKES)
def test_a_mistake_in_a_tier_table_is_found(tmp_path: Path, right: str, wrong: str, complaint: str) -> None:
    folder = tmp_path / "tariffs"
    shutil.copytree(SHIPPED, folder)
    file = folder / "rates/pmp_usd_2026-10-01_volume_tiers.csv"
    assert right in file.read_text()
    file.write_text(file.read_text().replace(right, wrong, 1))
    with pytest.raises(TariffError, match=complaint):
        load_folder(folder)


def test_all_mistakes_are_found_at_once_with_file_and_line(tmp_path: Path) -> None:
    folder = tmp_path / "tariffs"
    shutil.copytree(SHIPPED, folder)
    for spoil in (
        replaced(REGIME, 'rate = "service"', 'rate = "sevice"'),
        replaced("pmp-2025-07.toml", "size = 0", "size = -1"),
        replaced("cbp-2023-06.toml", 'of = ["utility"], ', ""),
        replaced(USD, "0.0618", "0.06.18"),
        replaced("markets.csv", "AR,54,", "AR,54x,"),
    ):
        spoil(folder)
    with pytest.raises(TariffError) as found:
        load_folder(folder)
    places = {str(Path(mistake.partition(": ")[0]).relative_to(folder)) for mistake in found.value.mistakes}
    assert places >= {
        f"{REGIME}:{line_of(folder / REGIME, 'sevice')}",
        f"pmp-2025-07.toml:{line_of(folder / 'pmp-2025-07.toml', 'size = -1')}",
        f"{USD}:4",
        "markets.csv:5",
    }
    assert any("goes with of" in mistake for mistake in found.value.mistakes)


def line_of(file: Path, text: str) -> int:
    return next(number for number, line in enumerate(file.read_text().splitlines(), 1) if text in line)


@pytest.mark.parametrize("field", ["name", "effective_from"])
def test_two_tariffs_that_can_not_be_told_apart(field: str, tmp_path: Path) -> None:
    folder = tmp_path / "tariffs"
    shutil.copytree(SHIPPED, folder)
    text = (folder / REGIME).read_text()
    other = {"name": text.replace("effective_from = 2026-10-01", "effective_from = 2026-12-01", 1)}
    (folder / "copy.toml").write_text(other.get(field, text.replace('name = "pmp-2026-10"', 'name = "other"', 1)))
    with pytest.raises(TariffError, match=f"two tariffs have the {field}"):
        load_folder(folder)
