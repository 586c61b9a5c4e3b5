"""Webhooks as 360dialog posts them: the secret in the path or in a header, the body wrapped or not."""

import json
from typing import Any

from channels import Channel, call, open_channel
from farebox.core.signature import sign
from farebox.simulator import Behaviour
from harness import USER, World

HEADER = "X-Farebox-Webhook-Secret"
CBP = {"billable": True, "pricing_model": "CBP", "category": "utility"}


async def post(
    world: World, content: Any, *, secret: str = "", header: str | None = None, **headers: str
) -> tuple[int, bytes]:
    """Post a webhook the way 360dialog does, with the secret in the path or in the header."""
    body = content if isinstance(content, bytes) else json.dumps(content, indent=1).encode()
    path = "/webhooks/360dialog" + (f"/{secret}" if secret else "")
    headers |= {"Content-Type": "application/json"} | ({} if header is None else {HEADER: header})
    async with world.session.post(world.url + path, data=body, headers=headers) as answer:
        answered = answer.status, await answer.read()
    await world.books_kept()
    return answered


def inbound(user: str = USER, **fields: Any) -> dict[str, Any]:
    message = {"from": user, "id": "ABGGFlA5Fpa", "timestamp": "1", "type": "text", "text": {"body": "hé"}, **fields}
    return {"contacts": [{"profile": {"name": "Ü"}, "wa_id": user}], "messages": [message]}


async def sent(world: World, channel: Channel, **changes: Any) -> str:
    """Send a message whose statuses are left to the test; return its id."""
    key = await open_channel(world, channel, **changes)
    await world.fund("1.00", channel.number_id)
    world.whatsapp.behave(Behaviour(statuses=()))
    await world.gate.templates.sync()
    answer = await call(world, "POST", channel.path, key, json=channel.template())
    wamid: str = answer.json["messages"][0]["id"]
    return wamid


HELD = {"available": "0.9966", "held": "0.0034"}
CHARGED = {"available": "0.9966", "held": "0.00"}
RELEASED = {"available": "1.00", "held": "0.00"}


async def post_meta(world: World, content: Any, secret: str) -> int:
    body = json.dumps(content).encode()
    headers = {"X-Hub-Signature-256": sign(body, secret)} if secret else {}
    async with world.session.post(f"{world.url}/webhooks/meta", data=body, headers=headers) as answer:
        code = answer.status
    await world.books_kept()
    return code
