"""`farebox doctor` says what is well, what is not, and what to do: on a set-up that is well and on broken ones."""

import argparse
from datetime import date

import pytest
from pydantic import SecretStr

from farebox.commands import checkups, doctor
from farebox.commands.checkups import Finding
from farebox.config import Settings
from farebox.strength import weakness
from harness import ADMIN_TOKEN, World


async def found(settings: Settings) -> dict[tuple[str, str], Finding]:
    return {(finding.verdict, finding.what): finding async for finding in doctor.findings(settings)}


async def test_a_setup_that_is_well(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    settings = world.gate.settings.model_copy(update={"public_url": world.url})
    assert await doctor.run(settings, argparse.Namespace()) == 0
    said = capsys.readouterr().out
    for line in (
        "ok    admin token  set, and no easy guess",
        "ok    ledger       answers",
        "ok    schema       current",
        "ok    clock        the database's agrees within",
        "ok    numbers      1 set up",
        "ok    sweep        no hold is past its time",
        f"ok    webhooks     {world.url}/webhooks/meta shakes hands",
        " 0 to mend",
    ):
        assert line in said, said
    assert ADMIN_TOKEN not in said
    assert len(said.splitlines()) < 40, "it fits on a screen"


async def test_everything_that_is_broken_is_named_at_once(settings: Settings) -> None:
    broken = settings.model_copy(
        update={
            "admin_token": SecretStr("admin"),
            "redis_url": "redis://127.0.0.1:9",
            "upstream_url": "http://127.0.0.1:9",
            "public_url": "http://127.0.0.1:9",
        }
    )
    fails = {what: finding for (verdict, what), finding in (await found(broken)).items() if verdict == "fail"}
    assert set(fails) == {"admin token", "wallets", "WhatsApp", "webhooks"}
    assert all(finding.todo for finding in fails.values())


async def test_a_database_that_is_away_or_empty(settings: Settings, database_url: str) -> None:
    away = settings.model_copy(update={"database_url": "postgresql://nobody@127.0.0.1:9/none"})
    assert ("fail", "ledger") in await found(away)
    empty = settings.model_copy(
        update={"database_url": database_url.partition("/test_")[0] + "/template1?" + database_url.partition("?")[2]}
    )
    assert (await found(empty))["fail", "schema"].todo == "run farebox migrate"


@pytest.mark.parametrize(
    ("day", "verdict"),
    [(date(2026, 11, 25), "ok"), (date(2026, 9, 20), "ok"), (date(2026, 12, 20), "ok"), (date(2010, 1, 1), "fail")],
)
def test_a_card_that_ends_is_said_ahead(settings: Settings, day: date, verdict: str) -> None:
    findings = {finding.what: finding for finding in checkups.look_at_tariffs(settings, day)}
    assert findings["card USD"].verdict == verdict, findings


@pytest.mark.parametrize("token", ["admin", "x" * 40, "changeme-changeme-1", "password12345678", "short1A!"])
def test_a_weak_secret_is_called_weak(token: str) -> None:
    assert weakness(token)


@pytest.mark.parametrize("token", ["9f86d081884c7d659a2feaa0c55ad015", ADMIN_TOKEN, "correct horse battery staple"])
def test_a_strong_secret_is_let_be(token: str) -> None:
    assert weakness(token) is None
