"""Secrets at rest: nothing of them in the database, keys rotated while the gateway runs, a lost key is said."""

import argparse

import asyncpg
import pytest
from cryptography.fernet import Fernet
from pydantic import SecretStr

from farebox.acting import by_command
from farebox.commands import rekey
from farebox.config import Settings
from farebox.vault import Vault, VaultError
from harness import NUMBER, UPSTREAM_TOKEN, World, template

OLD, NEW = Fernet.generate_key().decode(), Fernet.generate_key().decode()


def keyed(settings: Settings, keys: str) -> Settings:
    return settings.model_copy(update={"encryption_keys": SecretStr(keys)})


async def stored(settings: Settings) -> str:
    connection = await asyncpg.connect(settings.database_url)
    row = await connection.fetchrow("SELECT upstream_token, app_secret, webhook_secret FROM number")
    await connection.close()
    return " ".join(str(value) for value in row.values())


async def test_secrets_are_sealed_and_sends_go_on(settings: Settings) -> None:
    secrets = {"app_secret": "of-this-number", "webhook_secret": "sixteen-characters"}
    async with World.open(keyed(settings, OLD)) as world:
        await world.admin("PATCH", f"/v1/numbers/{NUMBER}", secrets)
        text = await stored(settings)
        assert text.count("sealed:") == 3
        assert not any(secret in text for secret in (UPSTREAM_TOKEN, *secrets.values()))
        await world.fund("1.00")
        assert (await world.send(template())).status == 200
        number = world.gate.directory.numbers[NUMBER]
        assert (number.upstream_token, number.app_secret) == (UPSTREAM_TOKEN, "of-this-number")


async def test_keys_are_rotated_by_a_command(settings: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    async with World.open(settings) as world:
        assert UPSTREAM_TOKEN in await stored(settings)
        assert await rekey.run(keyed(settings, OLD), argparse.Namespace()) == 0
        sealed = await stored(settings)
        assert UPSTREAM_TOKEN not in sealed
        assert await rekey.run(keyed(settings, f"{NEW},{OLD}"), argparse.Namespace()) == 0
        assert await stored(settings) != sealed
        assert "secrets of 1 numbers are sealed" in capsys.readouterr().out
        (row, *_) = (await world.admin("GET", f"/v1/audit?who={by_command('rekey').who}"))["audit"]
        assert (row["subject"], row["after"]["upstream_token"]) == (NUMBER, "set anew")
    async with World.open(keyed(settings, NEW)) as world:
        await world.fund("1.00")
        assert (await world.send(template())).status == 200
    with pytest.raises(VaultError):
        async with World.open(keyed(settings, OLD)):
            pass


async def test_a_number_that_can_not_be_opened_keeps_what_was_known(settings: Settings) -> None:
    async with World.open(keyed(settings, OLD)) as world:
        connection = await asyncpg.connect(settings.database_url)
        await connection.execute("UPDATE number SET upstream_token = $1", Vault(NEW).seal("other"))
        await connection.close()
        await world.gate.directory.load_numbers(world.gate.ledger)
        assert world.gate.directory.numbers[NUMBER].upstream_token == UPSTREAM_TOKEN


async def test_rekey_without_keys_says_so(settings: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    assert await rekey.run(settings, argparse.Namespace()) == 1
    assert "FAREBOX_ENCRYPTION_KEYS is not set" in capsys.readouterr().out


def test_a_key_that_is_none_is_no_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match="32 random bytes in base64") as refused:
        Settings(encryption_keys="not-a-key")
    assert "not-a-key" not in str(refused.value).partition("[type=")[0]
