"""Strangers ask everything: the admin API by its own description, the gateway with sends and paths of no sense.

No answer is a 5xx of ours, none shows a secret, and no money moves that was not asked for.
"""

import json
import random
import sys
from pathlib import Path
from typing import Any

from harness import ADMIN_TOKEN, APP_SECRET, NUMBER, UPSTREAM_TOKEN, World, template, text
from operate.tools import run

SEED = 20_261_125
EXAMPLES = 4  # of a route: a few seconds; raise it by hand to look deeper
SENDS = 250
# Moving the clock by centuries is what a sandbox is for, and not what a description can forbid.
LEFT_OUT = ("/v1/clock",)
CHECKS = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance"


async def test_the_admin_api_answers_as_it_says(world: World, tmp_path: Path) -> None:
    arguments = [
        "--max-examples",
        str(EXAMPLES),
        "--seed",
        str(SEED),
        "--checks",
        CHECKS,
        "--phases",
        "examples,fuzzing",
    ]
    for path in LEFT_OUT:
        arguments += ["--exclude-path", path]
    code, output = await run(
        "env",
        f"--chdir={tmp_path}",  # where it keeps its notes
        sys.executable,
        "-c",
        "from schemathesis.cli import schemathesis; schemathesis()",
        "run",
        f"{world.admin_url}/openapi.json",
        "--header",
        f"Authorization: Bearer {ADMIN_TOKEN}",
        "--suppress-health-check",
        "all",
        *arguments,
    )
    assert code == 0, output[-8000:]


def odd(dice: random.Random, value: Any, depth: int = 0) -> Any:
    """Return a value with one of its leaves, or itself, made odd."""
    strange: list[Any] = [
        None, True, -1, 10**30, 1.5, "", "\0", "x" * 5_000, [], {}, [[]], {"a": {}}, "../..", "%2e%2e", "😀", "+", "-0",
    ]  # fmt: skip
    if isinstance(value, dict) and value and depth < 5 and dice.random() < 0.9:
        key = dice.choice(sorted(value))
        changed = {**value, key: odd(dice, value[key], depth + 1)}
        if dice.random() < 0.2:
            del changed[key]
        if dice.random() < 0.2:
            changed[dice.choice(["context", "biz_opaque_callback_data", "recipient_type", "\u0000", "__proto__"])] = (
                dice.choice(strange)
            )
        return changed
    return dice.choice(strange)


def scrambled(dice: random.Random, body: bytes) -> bytes:
    """Return bytes that are no JSON any more, perhaps."""
    at = dice.randrange(len(body))
    return dice.choice(
        [body[:at], body + body[:at], body[:at] + bytes([dice.randrange(256)]) + body[at:], b"\xff" * at]
    )


async def test_odd_sends_and_webhooks_do_no_harm(world: World) -> None:
    await world.fund("100.00")
    dice = random.Random(SEED)
    secrets = [secret.encode() for secret in (ADMIN_TOKEN, APP_SECRET, UPSTREAM_TOKEN)]
    for _ in range(SENDS):
        message: Any = odd(dice, dice.choice([template(), text()]))
        body = json.dumps(message).encode()
        body = scrambled(dice, body) if dice.random() < 0.3 else body
        path = dice.choice(
            [f"/v23.0/{NUMBER}/messages", f"/v23.0/{NUMBER}/marketing_messages", "/messages", "/v1/messages"]
        )
        if dice.random() < 0.2:
            path = dice.choice(["/webhooks/meta", "/webhooks/360dialog", f"/v23.0/{NUMBER}/calls", "/", "/v1/media"])
        answer = await world.call("POST", path, data=body, headers={"Content-Type": "application/json"})
        assert answer.status < 500, (path, body, answer)
        assert not any(secret in answer.body for secret in secrets)
    await world.books_kept()
    await world.sweep.run(whole=True)
    assert await world.differences() == []
    balance = await world.balance()
    entries = (await world.admin("GET", f"/v1/numbers/{NUMBER}/entries?limit=200"))["entries"]
    assert {entry["kind"] for entry in entries} <= {"topup", "settle"}
    assert float(balance["available"]) + float(balance["held"]) <= 100
