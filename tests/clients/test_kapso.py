"""@kapso/whatsapp-cloud-api, a Node client, takes the gateway for WhatsApp with nothing changed but `baseUrl`."""

import asyncio
import json
from dataclasses import dataclass
from typing import Any

import pytest
from node_clients import HERE, Node, node_with_clients

from farebox.core.reply import OUT_OF_FUNDS
from farebox.simulator import Behaviour
from harness import GERMAN, NUMBER, UPSTREAM_TOKEN, USER, WABA, World

SCRIPT_S = 60
# The last two templates of the script: the first takes the balance below zero, the second is refused.
BALANCE = "0.10"


@pytest.fixture(scope="session")
def node(pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory) -> Node:
    cache = getattr(pytestconfig, "cache", None)  # gone with -p no:cacheprovider
    return node_with_clients(cache.mkdir("node-clients") if cache else tmp_path_factory.mktemp("node-clients"))


@dataclass
class Run:
    """What the script printed, step by step."""

    output: str
    values: dict[str, Any]
    errors: dict[str, Any]


async def drive(node: Node, world: World) -> Run:
    """Run kapso.mjs against the gateway to its end."""
    await world.fund(BALANCE)
    world.whatsapp.behave(Behaviour(statuses=()))
    for number in range(5):
        world.whatsapp.add_template(f"more_{number}", "UTILITY")
    given = {
        "modules": str(node.modules),
        "baseUrl": world.url,
        "accessToken": world.key,
        "number": NUMBER,
        "waba": WABA,
        "user": USER,
        "german": GERMAN,
        "received": await world.whatsapp.write_in(USER, "hello"),
    }
    process = await asyncio.create_subprocess_exec(
        node.program,
        str(HERE / "kapso.mjs"),
        json.dumps(given),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(SCRIPT_S):
            output, complaints = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode == 0, complaints.decode()
    lines = [json.loads(line) for line in output.splitlines()]
    return Run(
        output.decode(),
        {line["step"]: line["value"] for line in lines if "value" in line},
        {line["step"]: line["error"] for line in lines if "error" in line},
    )


async def test_every_call_of_the_client_works_through_the_gateway(node: Node, world: World) -> None:
    run = await drive(node, world)
    assert set(run.errors) == {"refused"}, run.errors
    sends = ["text", "buttons", "reaction", "bsuid", "paid", "free"]
    assert [run.values[step]["messages"][0]["id"] for step in sends] == [sent.wamid for sent in world.whatsapp.sent]
    assert world.whatsapp.sent[3].user.user_id == "US.13491208655302741918"
    assert run.values["read"] == {"success": True}
    _check_media(run.values, world)
    _check_templates(run.values, world)
    _check_refusal(run.errors["refused"])
    assert UPSTREAM_TOKEN not in run.output
    assert await world.balance() == {"available": "-0.0365", "held": "0.1365"}
    assert await world.differences() == []


def _check_media(values: dict[str, Any], world: World) -> None:
    assert values["url"]["url"].startswith(f"{world.url}/")
    assert (values["url"]["mimeType"], values["url"]["fileSize"]) == ("image/png", 10_240)
    assert values["download"] is True
    assert values["delete"] == {"success": True}


def _check_templates(values: dict[str, Any], world: World) -> None:
    assert len(set(values["templates"]["names"])) == 8
    assert len(values["templates"]["pages"]) == 2
    assert all(page.startswith(f"{world.url}/") for page in values["templates"]["pages"])


def _check_refusal(error: dict[str, Any]) -> None:
    assert (error["name"], error["httpStatus"], error["code"]) == ("GraphApiError", 402, 131042)
    assert error["message"] == OUT_OF_FUNDS
    assert error["details"] == OUT_OF_FUNDS
    # The client's own advice to the application: something to fix first, not something to send again at once.
    assert (error["category"], error["retry"]) == ("businessEligibility", {"action": "fix_and_retry"})
