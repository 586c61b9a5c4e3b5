"""Templates, media, numbers, tokens."""

import hashlib

import aiohttp
import pytest

from farebox.simulator import Number
from farebox.simulator.wire import sign

WABA = "/v25.0/102290129340398"
PHONE = "/v25.0/106540352242922"


async def test_templates_page_to_the_end_by_following_next(start):
    world = await start()
    for number in range(7):
        world.sim.add_template(f"extra_{number}", "MARKETING")
    page = await world.get(f"{WABA}/message_templates", limit="4", fields="name,status", summary="total_count")
    names, pages, links = [], 0, []
    assert page["summary"]["total_count"] == 10
    assert "previous" not in page["paging"]
    while True:
        pages += 1
        names += [template["name"] for template in page["data"]]
        assert set(page["data"][0]) == {"name", "status", "id"}
        if "next" not in page["paging"]:
            break
        links.append(page["paging"]["next"])
        # The link alone is enough: as at Graph, it brings the token.
        assert f"access_token={world.sim.config.token}" in links[-1]
        async with aiohttp.ClientSession() as session, session.get(links[-1]) as response:
            page = await response.json()
    assert pages == 3
    assert len(set(names)) == len(names) == 10
    async with aiohttp.ClientSession() as session, session.get(page["paging"]["previous"]) as response:
        assert [t["name"] for t in (await response.json())["data"]] == names[4:8]
    assert all(link.startswith(str(world.client.make_url("/v25.0/"))) for link in links)


async def test_templates_filter_create_delete(start):
    world = await start()
    listed = await world.get(f"{WABA}/message_templates", category="MARKETING")
    assert [template["name"] for template in listed["data"]] == ["summer_sale"]
    assert (await world.get(f"{WABA}/message_templates", name="nope"))["data"] == []
    assert (await world.get(f"{WABA}/message_templates", limit="x"))["error"]["code"] == 100
    body = {"name": "fresh", "category": "UTILITY", "language": "de", "components": []}
    response = await world.client.post(f"{WABA}/message_templates", json=body, headers=world.auth)
    assert (await response.json())["status"] == "APPROVED"
    response = await world.client.delete(f"{WABA}/message_templates?name=fresh", headers=world.auth)
    assert await response.json() == {"success": True}
    response = await world.client.get("/v1/configs/templates", headers={"D360-API-KEY": world.sim.config.token})
    listed = await response.json()
    assert (listed["count"], listed["waba_templates"][0]["status"]) == (3, "approved")


async def test_media_roundtrip(start):
    world = await start()
    data = bytes(range(256)) * 4096
    form = aiohttp.FormData()
    form.add_field("messaging_product", "whatsapp")
    form.add_field("file", data, filename="a.mp4", content_type="video/mp4")
    response = await world.client.post(f"{PHONE}/media", data=form, headers=world.auth)
    media_id = (await response.json())["id"]
    described = await world.get(f"/v25.0/{media_id}", phone_number_id="106540352242922")
    assert described["sha256"] == hashlib.sha256(data).hexdigest()
    assert (described["file_size"], described["mime_type"], described["id"]) == (len(data), "video/mp4", media_id)
    async with aiohttp.ClientSession() as session:
        async with session.get(described["url"]) as refused:
            assert refused.status == 401
        async with session.get(described["url"], headers=world.auth) as download:
            assert await download.read() == data
            assert download.content_type == "video/mp4"
        world.sim.clock.offset_s += 301
        async with session.get(described["url"], headers=world.auth) as expired:
            assert expired.status == 404
    response = await world.client.delete(f"/v25.0/{media_id}", headers=world.auth)
    assert await response.json() == {"success": True}
    assert (await world.get(f"/v25.0/{media_id}"))["error"]["code"] == 100


async def test_media_without_file_or_product(start):
    world = await start()
    form = aiohttp.FormData()
    form.add_field("file", b"x", filename="a.txt", content_type="text/plain")
    response = await world.client.post(f"{PHONE}/media", data=form, headers=world.auth)
    assert "messaging_product is required" in (await response.json())["error"]["message"]
    form = aiohttp.FormData()
    form.add_field("file", b"x", filename="a.txt", content_type="text/plain")
    response = await world.client.post(f"{PHONE}/media?messaging_product=whatsapp", data=form, headers=world.auth)
    assert response.status == 200
    response = await world.client.post(f"{PHONE}/media", data={"a": "b"}, headers=world.auth)
    assert "file is required" in (await response.json())["error"]["message"]


async def test_numbers_account_profile_token(start):
    world = await start()
    (number,) = (await world.get(f"{WABA}/phone_numbers"))["data"]
    assert (number["id"], number["display_phone_number"]) == ("106540352242922", "+15550783881")
    assert await world.get(PHONE, fields="quality_rating") == {"quality_rating": "GREEN", "id": "106540352242922"}
    assert (await world.get(WABA))["currency"] == "USD"
    url = f"{PHONE}/whatsapp_business_profile"
    await world.client.post(url, json={"messaging_product": "whatsapp", "about": "Open"}, headers=world.auth)
    assert (await world.get(url))["data"] == [{"about": "Open", "messaging_product": "whatsapp"}]
    checked = await world.get("/v25.0/debug_token", input_token=world.sim.config.token)
    assert checked["data"]["is_valid"] is True
    assert (await world.get("/debug_token", input_token="other"))["data"]["is_valid"] is False
    assert (await world.get("/v25.0/12345"))["error"]["code"] == 100


async def test_answers_look_like_graphs(start):
    world = await start()
    response = await world.client.get(f"{WABA}/phone_numbers", headers=world.auth)
    assert response.headers["facebook-api-version"] == "v25.0"
    assert response.headers["x-fb-trace-id"]
    assert response.headers["Content-Encoding"] in ("gzip", "deflate")
    raw = await (await world.client.get(f"{WABA}/message_templates?limit=1", headers=world.auth)).read()
    assert rb"http:\/\/" in raw


async def test_appsecret_proof_of_another_token_is_refused(start):
    world = await start()
    answer = await world.get(PHONE, appsecret_proof="0" * 64)
    assert "appsecret_proof" in answer["error"]["message"]


@pytest.mark.parametrize("path", ["/", "/v25.0/1/2/3"])
async def test_unknown_paths(start, path):
    world = await start()
    assert (await world.get(path))["error"]["code"] == 2500


async def test_pricing_analytics_counts_deliveries(start, samples):
    world = await start()
    await world.sim.write_in()
    await world.accepted(samples.template("summer_sale", to="4915112345678"))
    await world.accepted(samples.template("summer_sale"))
    await world.accepted(samples.text())
    await world.sim.settled()
    now = int(world.sim.clock.now())
    ask = {"start": str(now - 86400), "end": str(now + 86400), "granularity": "DAILY"}
    answer = await world.get(f"{WABA}/pricing_analytics", **ask, dimensions='["PRICING_CATEGORY","PRICING_TYPE"]')
    points = answer["data"][0]["data_points"]
    assert [(p["pricing_category"], p["pricing_type"], p["volume"]) for p in points] == [
        ("MARKETING", "REGULAR", 2),
        ("SERVICE", "FREE_CUSTOMER_SERVICE", 1),
    ]
    call = f"pricing_analytics.start({ask['start']}).end({ask['end']}).granularity(MONTHLY).country_codes([DE])"
    answer = await world.get(WABA, fields=f"{call}.dimensions([COUNTRY])")
    (point,) = answer["pricing_analytics"]["data"][0]["data_points"]
    assert (point["country"], point["volume"]) == ("DE", 1)
    assert (await world.get(f"{WABA}/pricing_analytics", start="1", end="2"))["error"]["code"] == 100


async def test_numbers_with_tokens_and_webhooks_of_their_own(start, samples):
    mine = Number(phone_number_id="7", waba_id="8", display_number="4930123456", token="mine", app_secret="other")
    world = await start(numbers=(Number(), mine))
    assert (await world.send(samples.template(), path="/v25.0/7/messages")).status == 401
    response = await world.client.post(
        "/v25.0/7/messages/", json=samples.template(), headers={"Authorization": "Bearer mine"}
    )
    assert response.status == 200
    await world.sim.settled()
    body, headers = world.receiver.requests[0]
    assert headers["X-Hub-Signature-256"] == sign(body, "other")
    page = await world.client.get("/v25.0/8/message_templates?limit=1", headers={"Authorization": "Bearer mine"})
    assert "access_token=mine" in (await page.json())["paging"]["next"]
    key = {"D360-API-KEY": "mine"}
    url = world.sim.config.webhook_url
    await world.client.post("/v1/configs/webhook", json={"url": url, "headers": {"X-Mine": "1"}}, headers=key)
    await world.client.post("/messages", json=samples.template(), headers=key)
    await world.sim.settled()
    headers = world.receiver.requests[-1][1]
    assert headers["X-Mine"] == "1"
    assert "X-Hub-Signature-256" not in headers
    assert world.receiver.values[-1]["metadata"]["phone_number_id"] == "7"


async def test_groups_are_delivered_to_each_member(start, samples):
    world = await start(statuses=("sent", "delivered"), free_pool=3)
    group = world.sim.add_group(["16505551234", "4915112345678"], subject="Us")
    assert (await world.get(f"/v25.0/{group}"))["total_participant_count"] == 2
    to_group = samples.text(to=group, recipient_type="group")
    await world.accepted(to_group)
    await world.sim.write_in(group_id=group)
    await world.accepted(to_group)
    await world.accepted(to_group)
    await world.sim.settled()
    failed, sent, delivered, _, last = (value for value in world.receiver.values if "statuses" in value)
    assert failed["statuses"][0]["errors"][0]["code"] == 131047
    assert sent["statuses"][0]["recipient_id"] == group
    assert "contacts" not in sent
    who = [(s["recipient_participant_id"], s["pricing"]["type"]) for s in delivered["statuses"]]
    free = "free_group_customer_service"
    assert who == [("16505551234", free), ("4915112345678", free)]
    assert [s["pricing"]["type"] for s in last["statuses"]] == [free, "regular"]
    assert last["statuses"][1]["pricing"]["category"] == "group_service"
    assert (await world.send(samples.text(to="nobody", recipient_type="group"))).status == 400
