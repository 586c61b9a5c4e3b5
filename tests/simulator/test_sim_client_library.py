"""A real client library takes the simulator for WhatsApp: it sends, lists, uploads and reads the webhooks."""

import asyncio
import json

import pytest
from pywa import WhatsApp
from pywa.errors import TemplateNotExists
from pywa.types import Message, MessageStatus
from pywa.types.message_status import MessageStatusType
from pywa.types.templates import TemplateLanguage

USER = "+16505551234"


@pytest.fixture
async def world(start):
    return await start(statuses=("sent", "delivered"))


@pytest.fixture
async def pywa(world):
    def connect() -> WhatsApp:
        client = WhatsApp(phone_id="106540352242922", token=world.sim.config.token, waba_id="102290129340398")
        client.api._session.base_url = str(world.client.make_url("/v25.0"))
        return client

    client = await asyncio.to_thread(connect)
    yield client
    client.api._session.close()


async def test_it_sends_and_lists_and_uploads(world, pywa):
    call = asyncio.to_thread
    sent = await call(pywa.send_text, USER, "hi")
    assert sent.id == world.sim.sent[0].wamid
    await call(pywa.send_template, USER, "order_update", TemplateLanguage.ENGLISH_US, [])
    with pytest.raises(TemplateNotExists):
        await call(pywa.send_template, USER, "nope", TemplateLanguage.ENGLISH_US, [])
    assert len(list(await call(pywa.get_templates))) == 3
    media = await call(pywa.upload_media, b"abc", mime_type="text/plain", filename="a.txt")
    assert (await call(pywa.get_media_url, media.id)).file_size == 3
    assert await call(pywa.delete_media, media.id)
    assert await call(pywa.mark_message_as_read, "wamid.x")
    assert (await call(pywa.get_business_phone_number)).verified_name == "Simulated Business"
    await world.sim.settled()


async def test_it_reads_the_webhooks(world, pywa):
    await world.sim.write_in(text="hello", name="Ann")
    await asyncio.to_thread(pywa.send_text, USER, "hi")
    await world.sim.settled()
    updates = [json.loads(body) for body, _ in world.receiver.requests]
    message = Message.from_update(client=pywa, update=updates[0])
    assert (message.text, message.from_user.name) == ("hello", "Ann")
    status = MessageStatus.from_update(client=pywa, update=updates[2])
    assert status.status == MessageStatusType.DELIVERED
    assert status.pricing.type == "free_customer_service"
