"""Numbers at 360dialog, of both dialects, and how their clients call."""

from dataclasses import dataclass
from typing import Any

import pytest

from farebox.simulator.config import Number
from harness import USER, Answer, World, template

WABA = "777"  # of the channels at 360dialog; farebox is not told


@dataclass(frozen=True)
class Channel:
    """A number at 360dialog."""

    dialect: str
    number_id: str
    path: str
    token: str
    secret: str

    def template(self, name: str = "order_update", to: str = USER) -> dict[str, Any]:
        if self.dialect == "360dialog":
            return template(name, to)
        language = {"policy": "deterministic", "code": "en_US"}
        return {
            "recipient_type": "individual",
            "to": to,
            "type": "template",
            "template": {"namespace": "ba30dd89", "name": name, "language": language, "components": []},
        }

    def sentence(self, content: Any) -> str:
        """The one sentence of an error, from the place where this API's clients look for it."""
        assert content["meta"]["success"] is False
        assert isinstance(content["meta"]["http_code"], int)
        said: str = content["meta"]["developer_message"]
        if self.dialect == "on_premise":
            (error,) = content["errors"]
            assert isinstance(error["code"], int)
            assert error["title"]
            assert error["details"] == said
        return said


D360 = Channel("360dialog", "300", "/messages", "token-of-360dialog-300", "secret-of-number-300")
ON_PREMISE = Channel("on_premise", "400", "/v1/messages", "token-of-on-premise-400", "secret-of-number-400")
CHANNELS = pytest.mark.parametrize("channel", [D360, ON_PREMISE], ids=lambda channel: channel.dialect)


async def open_channel(world: World, channel: Channel, **changes: Any) -> str:
    """Set a number up here and at the simulated 360dialog; return a key for it."""
    world.whatsapp.add_number(
        Number(
            phone_number_id=channel.number_id,
            waba_id=WABA,
            token=channel.token,
            webhook_url=f"{world.url}/webhooks/360dialog/{channel.secret}",
            signed=False,
        )
    )
    fields = {
        "waba_id": "",
        "dialect": channel.dialect,
        "upstream_token": channel.token,
        "webhook_secret": channel.secret,
        **changes,
    }
    await world.add_number(channel.number_id, **fields)
    return await world.make_key(channel.number_id)


async def call(world: World, method: str, path: str, key: str, **kwargs: Any) -> Answer:
    headers = {"D360-API-KEY": key, **kwargs.pop("headers", {})}
    async with world.session.request(method, world.url + path, headers=headers, **kwargs) as answer:
        return Answer(answer.status, answer.headers, await answer.read())
