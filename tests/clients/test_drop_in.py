"""The rows of the README's drop-in guide: each application sends, and reads its templates, in its own shape."""

import re
from pathlib import Path
from typing import Any

import pytest

from harness import NUMBER, WABA, World, text

README = (Path(__file__).parent.parent.parent / "README.md").read_text()

# Setting, send path, header of the token, path that reads templates. {base} is what the setting holds.
APPLICATIONS: dict[str, tuple[str, str, str, str]] = {
    "Chatwoot": (
        "WHATSAPP_CLOUD_BASE_URL",
        f"/v13.0/{NUMBER}/messages",
        "Authorization",
        f"/v14.0/{WABA}/message_templates?access_token={{key}}",
    ),
    "Chatwoot, 360dialog": ("360DIALOG_BASE_URL", "/v1/messages", "D360-API-KEY", "/v1/configs/templates"),
    "Evolution API": (
        "WA_BUSINESS_URL",
        f"/v20.0/{NUMBER}/messages",
        "Authorization",
        f"/v20.0/{WABA}/message_templates",
    ),
    "Typebot": (
        "WHATSAPP_CLOUD_API_URL",
        f"/v21.0/{NUMBER}/messages?appsecret_proof={'0' * 64}",
        "Authorization",
        f"/v21.0/{WABA}/message_templates",
    ),
}


@pytest.mark.parametrize("name", APPLICATIONS)
async def test_an_application_of_the_guide_sends(world: World, name: str) -> None:
    setting, path, header, _ = APPLICATIONS[name]
    await world.fund("1.00")
    token = world.key if header == "D360-API-KEY" else f"Bearer {world.key}"
    message: dict[str, Any] = text()
    if header == "D360-API-KEY":
        del message["messaging_product"]
    async with world.session.post(world.url + path, json=message, headers={header: token}) as answer:
        assert answer.status == 200, await answer.text()
        assert answer.headers["X-Farebox-Hold"]
    assert re.search(rf"^\| {re.escape(name.partition(',')[0])}[^|]*\|.*`{setting}", README, re.MULTILINE), setting


@pytest.mark.parametrize("name", [name for name in APPLICATIONS if "360" not in name])
async def test_an_application_of_the_guide_reads_its_templates(world: World, name: str) -> None:
    path = APPLICATIONS[name][3].format(key=world.key)
    headers = {} if "access_token" in path else {"Authorization": f"Bearer {world.key}"}
    async with world.session.get(world.url + path, headers=headers) as answer:
        assert answer.status == 200, await answer.text()
        assert (await answer.json())["data"]
