import csv
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from farebox.assets import asset
from farebox.core.money import parse_micros
from farebox.core.tariff import UnpricedError
from farebox.tariffs import CATEGORIES, TariffError, load_tariffs

SHIPPED = asset("config/tariffs")


def test_every_cell_of_every_card_is_loaded_and_blank_is_not_zero() -> None:
    tariff = load_tariffs(SHIPPED).by_name("pmp-2026-10")
    for currency, file in (("USD", "pmp_usd_2026-10-01.csv"), ("COP", "pmp_cop_2026-10-01.csv")):
        lines = (SHIPPED / "rates" / file).read_text().splitlines()
        rows = list(csv.DictReader(line for line in lines if not line.startswith("#")))
        assert len(rows) == 46 + 1
        for row in rows:
            for category in CATEGORIES:
                if row[category]:
                    rate = tariff.rate(currency, row["market"], category)
                    assert rate.micros == parse_micros(row[category])
                    name, line = rate.source.split(":")
                    assert lines[int(line) - 1].startswith(row["market"])
                    assert (SHIPPED / name).exists()
                else:
                    with pytest.raises(UnpricedError):
                        tariff.rate(currency, row["market"], category)


REGIME = "pmp-2026-10.toml"
USD = "rates/pmp_usd_2026-10-01.csv"


def replaced(file: str, old: str, new: str) -> Callable[[Path], None]:
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
    (replaced(USD, "0.0618", "0.06.18"), r"usd_2026-10-01\.csv:4"),
    (replaced(USD, "0.0618", "-0.0618"), "negative"),
    (replaced(USD, "Argentina,USD", "Argentina,EUR"), "currency is EUR"),
    (replaced(USD, "0.0618", ""), "no marketing rate for Argentina"),
    (replaced(USD, "Argentina,USD,", "Argentina,USD,,"), "csv:4: the row has not as many cells"),
    (replaced(USD, "market,currency", "region,currency"), "column market is missing"),
    (replaced("markets.csv", "AR,54,", "AR,54x,"), "must be digits"),
    (replaced("markets.csv", "AR,54,2023-06-01", "AR,54,soon"), "markets.csv:5"),
    (lambda folder: (folder / USD).unlink(), "No such file"),
    (lambda folder: (folder / REGIME).unlink(), "no tariff"),
]


@pytest.mark.parametrize(("spoil", "said"), MISTAKES)
def test_a_mistake_is_named_with_its_file(spoil: Callable[[Path], None], said: str, tmp_path: Path) -> None:
    folder = tmp_path / "tariffs"
    shutil.copytree(SHIPPED, folder)
    spoil(folder)
    with pytest.raises(TariffError, match=said):
        load_tariffs(folder)
