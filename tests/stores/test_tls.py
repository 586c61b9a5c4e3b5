"""Stores behind TLS and passwords: everything works over them, and nothing where the CA, the name or the password is
another's.
"""

import re
import ssl
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import asyncpg
import pytest

from farebox.config import Settings
from farebox.ledger import Ledger
from farebox.migrate import migrate
from farebox.wallet import Wallet, WalletUnavailableError
from harness import ADMIN_TOKEN, APP_SECRET, NUMBER, USER, VERIFY_TOKEN, World, template
from stores import local_postgres
from stores.servers import Valkey, start_valkey
from stores.tls import Certificates, relay

OPERATING = (Path(__file__).parent.parent.parent / "docs/operating.md").read_text()
USER_PASSWORD = "of:the/wallets"
PATIENCE_S = 5


@dataclass
class Stores:
    """The URLs that are right, and what wrong ones are made of."""

    database_url: str
    redis_url: str
    ca_file: Path
    other_ca_file: Path
    valkey: Valkey


@pytest.fixture(scope="module", params=["relayed", "its own"])
async def tls_stores(request: pytest.FixtureRequest, open_folder: Path) -> AsyncIterator[Stores]:
    """Both stores with passwords; PostgreSQL's TLS from a relay, and its own where this machine has one with TLS."""
    folder = open_folder / f"tls {request.param}"
    folder.mkdir(mode=0o711)
    certificates, others = Certificates(folder / "ca"), Certificates(folder / "other")
    async with AsyncExitStack() as stack:
        if request.param == "relayed":
            port = await local_postgres.start_postgres(stack, folder / "pg", local_postgres.wheels_programs(), None)
            port = await relay(stack, port, certificates.context, postgres=True)
        else:
            programs = local_postgres.systems_programs()
            if programs is None:
                pytest.skip("no PostgreSQL with TLS below /usr/lib/postgresql; the relayed one was tested")
            port = await local_postgres.start_postgres(stack, folder / "pg", programs, certificates)
        password = quote(local_postgres.PASSWORD, safe="")
        database_url = (
            f"postgresql://farebox:{password}@localhost:{port}/farebox"
            f"?sslmode=verify-full&sslrootcert={quote(str(certificates.ca_file))}"
        )
        valkey = await start_valkey(stack, folder / "valkey", {"requirepass": "root's"}, login={"password": "root's"})
        await valkey.client.execute_command("ACL", "SETUSER", *documented_rights())
        tls_port = await relay(stack, valkey.port, certificates.context)
        redis_url = (
            f"rediss://farebox:{quote(USER_PASSWORD, safe='')}@localhost:{tls_port}"
            f"?ssl_ca_certs={quote(str(certificates.ca_file))}"
        )
        await migrate(database_url)
        yield Stores(database_url, redis_url, certificates.ca_file, others.ca_file, valkey)


def documented_rights() -> list[str]:
    """The rights that docs/operating.md gives the user `farebox`, with the test's password."""
    (line,) = re.findall(r"^ +ACL SETUSER ((?:.*\\\n)*.*)", OPERATING, re.MULTILINE)
    words = line.replace("\\\n", " ").replace("'", "").split()
    return [f">{USER_PASSWORD}" if word.startswith(">") else word for word in words]


async def test_a_message_is_sent_settled_and_reconciled(tls_stores: Stores, tmp_path: Path) -> None:
    settings = Settings(
        database_url=tls_stores.database_url,
        redis_url=tls_stores.redis_url,
        data_dir=tmp_path,
        admin_token=ADMIN_TOKEN,
        app_secret=APP_SECRET,
        verify_token=VERIFY_TOKEN,
        wallet_timeout_s=2,
    )
    async with World.open(settings) as world:
        await world.fund("1.00")
        assert (await world.send(template())).status == 200
        await world.books_kept()
        assert await world.balance() == {"available": "0.9966", "held": "0.00"}
        quoted = await world.admin("POST", "/v1/quotes", {"number": NUMBER, "message": template()})
        assert quoted["term"]
        assert await world.gate.wallet.holds(NUMBER, 10) == {}
        await world.whatsapp.write_in(USER)
        await world.books_kept()
        await world.admin("PUT", "/v1/clock", {"advance_s": 10 * 86_400})  # the sweep forgets who wrote in
        assert await tls_stores.valkey.client.keys("*:user:*") == []
        assert await world.differences() == []
    denied = [entry["object"] for entry in await tls_stores.valkey.client.acl_log() if entry["reason"] != "auth"]
    assert denied == [], "the documented rights lack a command"


@pytest.mark.parametrize("wrong", ["CA", "name", "password", "no TLS"])
async def test_a_wrong_url_of_the_database_is_refused(tls_stores: Stores, wrong: str) -> None:
    changed = {
        "CA": (quote(str(tls_stores.ca_file)), quote(str(tls_stores.other_ca_file))),
        "name": ("@localhost:", "@127.0.0.1:"),
        "password": ("of%20the%2Fledger", "guessed"),
        "no TLS": ("sslmode=verify-full", "sslmode=disable"),
    }[wrong]
    url = tls_stores.database_url.replace(*changed)
    assert url != tls_stores.database_url
    refusals = (ssl.SSLError, asyncpg.PostgresError, OSError)
    with pytest.raises(refusals):
        await Ledger.connect(url, timeout_s=PATIENCE_S)


@pytest.mark.parametrize("wrong", ["CA", "name", "password", "no TLS"])
async def test_a_wrong_url_of_the_wallets_is_refused(tls_stores: Stores, wrong: str) -> None:
    changed = {
        "CA": (quote(str(tls_stores.ca_file)), quote(str(tls_stores.other_ca_file))),
        "name": ("@localhost:", "@127.0.0.1:"),
        "password": ("of%3Athe%2Fwallets", "guessed"),
        "no TLS": ("rediss://", "redis://"),
    }[wrong]
    url = tls_stores.redis_url.replace(*changed)
    assert url != tls_stores.redis_url
    wallet = Wallet(url if wrong != "no TLS" else url.partition("?")[0], timeout_s=PATIENCE_S)
    try:
        with pytest.raises(WalletUnavailableError):
            await wallet.position("1")
    finally:
        await wallet.aclose()
