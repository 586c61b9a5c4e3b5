"""The gateway under a database role of its own: everything it does works, and the ledger is append-only to it."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime

import asyncpg
import pytest

from farebox.config import Settings
from farebox.migrate import migrate
from harness import NUMBER, USER, World, template, text

ROLE = "farebox_gateway"


@pytest.fixture
async def settings_of_role(settings: Settings) -> Settings:
    """Settings whose database URL names the lesser role; the owner has migrated and granted."""
    assert settings.database_url is not None
    owner = await asyncpg.connect(settings.database_url)
    if not await owner.fetchval("SELECT true FROM pg_roles WHERE rolname = $1", ROLE):
        await owner.execute(f"CREATE ROLE {ROLE} LOGIN")
    await owner.close()
    await migrate(settings.database_url, grant_to=ROLE)
    return settings.model_copy(update={"database_url": settings.database_url.replace("//farebox@", f"//{ROLE}@")})


@pytest.fixture
async def connection(settings_of_role: Settings) -> AsyncIterator[asyncpg.Connection]:
    opened = await asyncpg.connect(settings_of_role.database_url)
    assert await opened.fetchval("SELECT current_user") == ROLE
    yield opened
    await opened.close()


async def test_everything_a_gateway_does_works(settings_of_role: Settings) -> None:
    assert settings_of_role.database_url is not None
    assert await migrate(settings_of_role.database_url) == []  # as serve does at its start
    async with World.open(settings_of_role) as world:
        await world.fund("1.00")
        assert (await world.send(template())).status == 200
        await world.books_kept()
        assert await world.balance() == {"available": "0.9966", "held": "0.00"}
        await world.admin("PUT", "/v1/clock", {"advance_s": 400 * 86_400})  # where no month has a partition yet
        assert (await world.send(template())).status == 200
        await world.whatsapp.write_in(USER, "hello")
        assert (await world.send(text())).status == 200
        await world.books_kept()
        await world.admin("PATCH", f"/v1/numbers/{NUMBER}", {"mode": "shadow"})
        await world.admin("PATCH", "/v1/accounts/acme", {"name": "Acme & Co"})
        keys = await world.admin("GET", "/v1/keys")
        await world.admin("DELETE", f"/v1/keys/{keys['keys'][0]['key_id']}")
        await world.gate.templates.sync()
        assert await world.sweep.run() is not None
        assert await world.differences() == []
        month = datetime.fromtimestamp(
            world.gate.clock.now_ms() // 1000, UTC
        )  # made by the pass that moving the clock made
        assert await world.gate.ledger._pool.fetchval("SELECT to_regclass($1) IS NOT NULL", f"hold_{month:%Y_%m}")


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE entry SET amount_micros = 1",
        "DELETE FROM entry",
        "TRUNCATE entry",
        "ALTER TABLE entry DISABLE TRIGGER ALL",
        "DROP TRIGGER entry_append_only ON entry",
        "DROP TABLE entry_other",
        "INSERT INTO entry_other SELECT * FROM entry",  # past the checks of its table
        "UPDATE entry_other SET amount_micros = 1",
        "CREATE OR REPLACE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN OLD; END'",
        "UPDATE balance SET entries_micros = balance_micros",
        "DELETE FROM balance",
        "DELETE FROM hold",
        "TRUNCATE hold",
        "INSERT INTO entry_total SELECT '1', now(), 'topup', 'outside', 'number', 1, 1",
        "DELETE FROM topup",
        "DELETE FROM migration",
        "SET session_replication_role = replica",
        "SELECT setval('entry_serial', 1)",
        "CREATE TABLE x ()",
        "CREATE TRIGGER x BEFORE INSERT ON entry EXECUTE FUNCTION refuse_change()",
    ],
)
async def test_the_role_can_not(connection: asyncpg.Connection, change: str) -> None:
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await connection.execute(change)


async def test_a_table_of_its_own_does_not_stand_in_for_the_ledgers(connection: asyncpg.Connection) -> None:
    """What runs as the owner looks at the owner's tables: a temporary one of the same name changes nothing."""
    await connection.execute("CREATE TEMPORARY TABLE history AS SELECT true AS only_row, 'x'::text AS identity")
    assert await connection.fetchval("SELECT claim_history()") is False


async def test_months_are_made_by_the_role_and_dropped_by_the_owner(connection: asyncpg.Connection) -> None:
    assert await connection.fetchval("SELECT make_partitions('2020-01-15', 0)") == 2
    for call in ("freeze_month('2020-01-01')", "drop_month('2020-01-01', now())", "make_partition('2020-02-01')"):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await connection.execute(f"SELECT {call}")


@pytest.mark.parametrize(("role", "why"), [("nobody_knows", "there is no role"), ("farebox", "owns the tables")])
async def test_a_role_that_can_not_be_bound_is_refused(settings: Settings, role: str, why: str) -> None:
    assert settings.database_url is not None
    with pytest.raises(asyncpg.RaiseError, match=why):
        await migrate(settings.database_url, grant_to=role)


async def test_a_right_that_was_given_otherwise_is_taken_back(settings_of_role: Settings, settings: Settings) -> None:
    assert settings.database_url is not None
    owner = await asyncpg.connect(settings.database_url)
    await owner.execute(f"GRANT DELETE ON entry, hold TO {ROLE}")
    await migrate(settings.database_url, grant_to=ROLE)
    assert await owner.fetchval("SELECT has_table_privilege($1, 'entry', 'DELETE')", ROLE) is False
    await owner.close()
