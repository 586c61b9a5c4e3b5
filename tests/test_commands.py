"""The commands that explain money, as a person reads them."""

import json
from datetime import date
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from farebox import __main__ as command_line
from farebox.admin.quotes import QuotePost, make_quote
from farebox.assets import asset
from farebox.commands.check import cards
from farebox.commands.quote import lines
from farebox.tariff_files import load_folder
from harness import NUMBER, World

SAO_PAULO = ZoneInfo("America/Sao_Paulo")


async def test_a_quote_in_words(world: World) -> None:
    await world.fund("1.00")
    await world.admin("PATCH", f"/v1/numbers/{NUMBER}", {"timezone": "America/Sao_Paulo"})
    asked = {"number": NUMBER, "to": "5511987654321", "category": "utility", "window_open": True}
    body = QuotePost.model_validate_json(json.dumps({**asked, "at": "2026-09-30T23:59"}))
    number = world.gate.directory.numbers[NUMBER]
    told = "\n".join(lines(await make_quote(world.gate, number, body), SAO_PAULO))
    for piece in (
        "fare        0.00 USD, free",
        "because     a utility template is free in an open customer service window",
        "regime      pmp-2025-07",
        "when        2026-09-30 23:59:00 in America/Sao_Paulo",
        "customer service window open until 2026-10-01 23:59:00 -03",
        "  >  3.  holds  0.00    free",
        "     5.  holds  0.0068  paid",
    ):
        assert piece in told, told


def test_the_cards_of_a_day_and_what_is_wrong_with_them() -> None:
    told = list(cards(load_folder(asset("config/tariffs")), date(2026, 11, 22)))
    assert "tariff pmp-2026-10: from 2026-10-01, in force" in told
    assert "warning: pmp-2026-10 has no card in EUR: numbers in EUR can not be priced by it" in told
    assert any(line.startswith("  EUR: the card of 2026-07-01; warning: no rate card of 2026-10-01") for line in told)
    assert "tariff pmp-2025-07: from 2025-07-01, in force" in cards(
        load_folder(asset("config/tariffs")), date(2026, 9, 30)
    )


def test_check_says_all_mistakes_of_settings_and_tariffs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["farebox", "check"])
    with pytest.raises(SystemExit) as ended:
        command_line.main()
    assert ended.value.code == 0
    assert "settings and tariffs are fine" in capsys.readouterr().out
    file = tmp_path / "farebox.toml"
    file.write_text('host = "x"\ngatway_port = 1\n')
    monkeypatch.setenv("FAREBOX_CONFIG", str(file))
    monkeypatch.setenv("FAREBOX_WORKERS", "0")
    monkeypatch.setattr("farebox.commands.check.asset", lambda _: tmp_path / "none")
    with pytest.raises(SystemExit) as ended:
        command_line.main()
    assert ended.value.code == 1
    told = capsys.readouterr().out
    for piece in (f"{file}:2: FAREBOX_GATWAY_PORT", "FAREBOX_WORKERS: ", "markets.csv: No such file", "4 mistakes"):
        assert piece in told
