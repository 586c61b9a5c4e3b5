"""Numbers as a ledger has them after a while: each with money and a key.

They are written in SQL, in pages, so that a hundred thousand take seconds. Ids have fifteen digits, as WhatsApp's have.
"""

import asyncpg

ACCOUNT = "bench"
WABA = "bench"
KEY = "fbx_bench-"  # a number's key begins so, and ends with the number
UPSTREAM_TOKEN = "bench-upstream"
FUNDS_MICROS = 1_000_000 * 1_000_000  # a million USD: no benchmark ends it
FIRST_ID = 106_540_352_000_001
PAGE = 5_000  # numbers that are written in one transaction

_ID = f"({FIRST_ID - 1} + n)::text"
_PLACES = "generate_series($1::bigint, $2::bigint) n"
FILL = (
    "INSERT INTO number (number_id, account_id, waba_id, currency, upstream_token, app_url, created_at) "
    f"SELECT {_ID}, '{ACCOUNT}', '{WABA}', 'USD', '{UPSTREAM_TOKEN}', $3, now() FROM {_PLACES}",
    f"INSERT INTO balance (number_id, balance_micros, entries_micros) SELECT {_ID}, {FUNDS_MICROS}, {FUNDS_MICROS} "
    f"FROM {_PLACES}",
    "INSERT INTO api_key (key_id, name, digest, numbers, created_at) SELECT gen_random_uuid(), 'bench', "
    f"sha256(convert_to('{KEY}' || n, 'UTF8')), ARRAY[{_ID}], now() FROM {_PLACES}",
    "INSERT INTO topup (topup_id, number_id, reference, method, amount_micros, state, created_at, credited_at) "
    f"SELECT gen_random_uuid(), {_ID}, 'first', 'manual', {FUNDS_MICROS}, 'succeeded', now(), now() FROM {_PLACES}",
    "INSERT INTO entry (number_id, kind, from_book, into_book, amount_micros, topup_id, at) "
    "SELECT number_id, 'topup', 'outside', 'number', amount_micros, topup_id, credited_at FROM topup "
    f"JOIN {_PLACES} ON number_id = {_ID}",
)


def id_of(number: int) -> str:
    """Return the id of a number; numbers count from 1."""
    return str(FIRST_ID - 1 + number)


def key_of(number: int) -> str:
    """Return the key of a number."""
    return f"{KEY}{number}"


async def populate(database_url: str, numbers: int, *, app_url: str) -> None:
    """Write so many numbers into a ledger that has none; all have the same application."""
    connection = await asyncpg.connect(database_url)
    try:
        # Without the triggers that check and audit each row: what they would write is written here.
        await connection.execute("SET session_replication_role = replica")
        await connection.execute(
            f"INSERT INTO account (account_id, name, currency, created_at) VALUES ('{ACCOUNT}', 'B', 'USD', now())"
        )
        for first in range(1, numbers + 1, PAGE):
            async with connection.transaction():
                for statement in FILL:
                    arguments = (first, min(first + PAGE - 1, numbers), app_url)
                    await connection.execute(statement, *arguments[: 3 if "$3" in statement else 2])
        # The comparison of all books has been made today, as at any time but shortly after midnight.
        await connection.execute("INSERT INTO reconciliation VALUES (current_date, 0, '{}', now())")
        await connection.execute("ANALYZE")  # as autovacuum has in a ledger that is not a second old
    finally:
        await connection.close()
