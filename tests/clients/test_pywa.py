"""pywa, a Python client, takes the gateway for WhatsApp: blocking and asyncio, nothing changed but the base URL."""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
import pywa
import pywa_async
from pywa.errors import BusinessPaymentIssue, TemplateNotExists
from pywa.types import Button, Pagination
from pywa.types.templates import TemplateLanguage

from farebox.core.reply import OUT_OF_FUNDS
from farebox.simulator import Behaviour
from harness import GERMAN, NUMBER, UPSTREAM_TOKEN, USER, WABA, World

VERSION = "v25.0"
ENGLISH = TemplateLanguage.ENGLISH_US
PICTURE = bytes(range(256)) * 40


@dataclass
class Client:
    """pywa in one of its two forms. Both have the same methods, so a test names a method and is run with both."""

    wa: Any
    session: httpx.Client | httpx.AsyncClient

    async def __call__(self, method: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        if isinstance(self.session, httpx.AsyncClient):
            return await method(*args, **kwargs)
        # In a thread, because gateway and WhatsApp run on this loop and the blocking form would wait for itself.
        return await asyncio.to_thread(method, *args, **kwargs)


@pytest.fixture(params=["blocking", "asyncio"])
async def client(request: pytest.FixtureRequest, world: World) -> AsyncIterator[Client]:
    """The whole change that an application makes.

    pywa has no option for a base URL and writes its own into the session that it is given. The session is the
    application's, and httpx lets its `base_url` be set at any time: so it is set once more, after pywa has set it.
    """
    session: httpx.Client | httpx.AsyncClient
    if request.param == "blocking":
        session = await asyncio.to_thread(httpx.Client, trust_env=False)
        wa = pywa.WhatsApp(phone_id=NUMBER, token=world.key, waba_id=WABA, session=session)
    else:
        session = httpx.AsyncClient(trust_env=False)
        wa = pywa_async.WhatsApp(phone_id=NUMBER, token=world.key, waba_id=WABA, session=session)
    session.base_url = f"{world.url}/{VERSION}"
    yield Client(wa, session)
    if isinstance(session, httpx.AsyncClient):
        await session.aclose()
    else:
        session.close()


async def test_it_sends_every_kind_of_message(world: World, client: Client) -> None:
    await world.fund("1.00")
    received = await world.whatsapp.write_in(USER, "hello")
    wa = client.wa
    sent = [
        await client(wa.send_message, USER, "hi"),
        await client(wa.send_message, USER, "which one?", buttons=[Button("This", "this"), Button("That", "that")]),
        await client(wa.send_template, USER, "order_update", ENGLISH, []),
        await client(wa.send_template, USER, "summer_sale", ENGLISH, [], use_mm_lite_api=True),
        await client(wa.send_reaction, USER, "👍", received),
        await client(wa.send_message, USER, "an answer", reply_to_message_id=received, tracker="order 77"),
    ]
    assert [message.id for message in sent] == [accepted.wamid for accepted in world.whatsapp.sent]
    assert [accepted.type for accepted in world.whatsapp.sent] == [
        "text",
        "interactive",
        "template",
        "template",
        "reaction",
        "text",
    ]
    assert world.whatsapp.sent[3].path == f"/{VERSION}/{NUMBER}/marketing_messages"
    assert world.whatsapp.sent[5].body["biz_opaque_callback_data"] == "order 77"
    await world.books_kept()
    # One utility template and one marketing template were paid, everything else was free.
    assert await world.balance() == {"available": "0.9716", "held": "0.00"}
    assert await world.differences() == []


async def test_it_marks_as_read_and_shows_typing_without_a_balance(world: World, client: Client) -> None:
    received = await world.whatsapp.write_in(USER, "hello")
    assert await client(client.wa.mark_message_as_read, received)
    assert await client(client.wa.indicate_typing, received)
    assert world.whatsapp.sent == []


async def test_it_uploads_finds_downloads_and_deletes_media(world: World, client: Client) -> None:
    wa = client.wa
    media = await client(wa.upload_media, PICTURE, mime_type="image/png", filename="a picture.png")
    found = await client(wa.get_media_url, media.id)
    assert found.url.startswith(f"{world.url}/")
    assert (found.mime_type, found.file_size) == ("image/png", len(PICTURE))
    assert found.sha256 == hashlib.sha256(PICTURE).hexdigest()
    # The URL is absolute, so it is the answer and not the base URL that brings the client back to the gateway.
    assert await client(wa.get_media_bytes, found.url) == PICTURE
    await client(wa.send_image, USER, media.id)
    assert world.whatsapp.sent[0].body["image"] == {"id": media.id}
    assert await client(wa.delete_media, media.id)
    with pytest.raises(pywa.errors.WhatsAppError) as caught:
        await client(wa.get_media_url, media.id)
    assert caught.value.code == 100


async def test_it_follows_the_pages_of_the_template_list_to_the_end(world: World, client: Client) -> None:
    for number in range(5):
        world.whatsapp.add_template(f"more_{number}", "UTILITY")
    pages = [await client(client.wa.get_templates, pagination=Pagination(limit=3))]
    while pages[-1].has_next:
        pages.append(await _page_after(client, pages[-1]))
    assert [len(page) for page in pages] == [3, 3, 2]
    assert (pages[0].total_count, pages[0].message_template_count) == (8, 8)
    assert len({template.name for page in pages for template in page}) == 8
    assert all(request.http_status == 200 for request in world.whatsapp.requests)


async def _page_after(client: Client, page: Any) -> Any:
    if isinstance(client.session, httpx.AsyncClient):
        return await client(page.next)  # by the absolute link in the answer
    # pywa 4.5.0, blocking: TemplatesResult.next() fetches the page and then fails on an argument of its own.
    return await client(client.wa.get_templates, pagination=Pagination(limit=3, after=page.after))


async def test_out_of_funds_is_its_own_payment_exception(world: World, client: Client) -> None:
    await world.fund("0.10")
    world.whatsapp.behave(Behaviour(statuses=()))
    wa = client.wa
    await client(wa.send_template, GERMAN, "summer_sale", ENGLISH, [])
    with pytest.raises(BusinessPaymentIssue) as caught:
        await client(wa.send_template, GERMAN, "summer_sale", ENGLISH, [])
    error = caught.value
    assert (error.code, error.status_code, error.type) == (131042, 402, "OAuthException")
    assert error.message == OUT_OF_FUNDS
    assert error.details == OUT_OF_FUNDS
    assert error.fbtrace_id
    # Getting off is always free: what costs nothing still passes.
    await client(wa.send_message, USER, "we are closed today")
    assert [message.type for message in world.whatsapp.sent] == ["template", "text"]


async def test_whatsapps_own_errors_are_its_own_exceptions(world: World, client: Client) -> None:
    await world.fund("1.00")
    with pytest.raises(TemplateNotExists) as caught:
        await client(client.wa.send_template, USER, "nobody_knows_it", ENGLISH, [])
    assert caught.value.code == 132001
    assert "nobody_knows_it" in (caught.value.details or "")
    assert await world.balance() == {"available": "1.00", "held": "0.00"}


async def test_it_reads_the_number_and_never_sees_the_token_of_whatsapp(world: World, client: Client) -> None:
    number = await client(client.wa.get_business_phone_number)
    assert number.verified_name == "Simulated Business"
    answer = await client(client.session.get, f"/{WABA}/message_templates", params={"limit": 1})
    assert answer.json()["paging"]["next"].startswith(f"{world.url}/")
    assert UPSTREAM_TOKEN not in answer.text
