"""Misfortune on demand, the control API, and the process."""

import asyncio
import os
import signal
import sys

import aiohttp
import pytest

from farebox.simulator import Behaviour, SimulatorConfig
from farebox.simulator.__main__ import main
from farebox.simulator.config import Number


async def test_next_sends_fail_then_all_is_well(start, samples):
    world = await start()
    world.sim.behave(
        Behaviour(times=2, http_status=429, code=130429, headers={"Retry-After": "7"}),
        Behaviour(times=1, code=131000),
        Behaviour(times=1, http_status=502, raw_body="<html>bad gateway</html>"),
    )
    responses = [await world.send(samples.template()) for _ in range(5)]
    assert [response.status for response in responses] == [429, 429, 500, 502, 200]
    assert responses[0].headers["Retry-After"] == "7"
    assert (await responses[2].json())["error"]["code"] == 131000
    assert await responses[3].text() == "<html>bad gateway</html>"
    assert len(world.sim.sent) == 1
    assert len(world.sim.requests) == 5
    await world.sim.settled()


async def test_reset_and_hang(start, samples):
    world = await start()
    world.sim.behave(Behaviour(times=1, reset=True), Behaviour(times=1, reset=True, accept=True))
    for accepted in (0, 1):
        with pytest.raises(aiohttp.ClientError):
            await world.send(samples.template())
        assert len(world.sim.sent) == accepted
    world.sim.behave(Behaviour(times=1, hang=True))
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await world.send(samples.template())
    await world.accepted(samples.template())
    await world.sim.settled()
    assert len(world.sim.sent) == 2


async def test_a_slow_answer_and_a_held_template(start, samples):
    world = await start()
    world.sim.behave(Behaviour(times=1, answer_delay_s=0.001, message_status="held_for_quality_assessment"))
    answer = await (await world.send(samples.template())).json()
    assert answer["messages"][0]["message_status"] == "held_for_quality_assessment"
    await world.sim.settled()


async def test_everything_over_http(start, samples):
    world = await start(webhook_url="")
    post, put, get = world.client.post, world.client.put, world.client.get
    assert "POST /simulator/inbound" in await (await get("/simulator")).text()
    hook = world.sim.config.webhook_url
    assert hook == ""
    assert (await (await put("/simulator/webhook", json={"url": "", "app_secret": "s"})).json())["signed"] is True
    assert (await (await post("/simulator/inbound", data={"from": "4915112345678", "text": "hallo"})).json())["wamid"]
    assert (await post("/simulator/inbound", json={"referral": True})).status == 200
    assert (await post("/simulator/templates", json={"name": "mine", "category": "utility"})).status == 200
    number = {"phone_number_id": "7", "waba_id": "8", "display_number": "4930123456"}
    assert (await post("/simulator/numbers", json=number)).status == 200
    await put("/simulator/behaviour", json=[{"times": 1, "statuses": []}, {"code": 131056}])
    wamid = await world.accepted(samples.template("mine"))
    assert (await world.send(samples.template(), path="/v25.0/7/messages")).status == 400
    await put("/simulator/behaviour", json={})
    status = {"wamid": wamid, "status": "delivered", "pricing": {"category": "marketing"}}
    assert (await post("/simulator/status", json=status)).status == 200
    assert (await post("/simulator/event", json={"field": "account_update", "value": {}})).status == 200
    moved = await (await put("/simulator/clock", json={"now": "2027-01-01T00:00:00Z", "advance_s": 60})).json()
    assert moved["now"] == pytest.approx(1798761660, abs=5)
    assert (await (await get("/simulator/settled")).json())["settled"] is True
    (sent,) = (await (await get("/simulator/sent")).json())["data"]
    assert (sent["wamid"], sent["statuses"]) == (wamid, ["delivered"])
    assert len((await (await get("/simulator/requests")).json())["data"]) == 2
    await world.client.delete("/simulator/sent")
    assert world.sim.sent == []


async def test_settings_and_groups_over_http(start, samples):
    world = await start()
    response = await world.client.put("/simulator/settings", json={"enforce_window": False, "free_pool": 0})
    assert (await response.json())["free_pool"] == 0
    await world.accepted(samples.text())
    await world.sim.settled()
    assert world.receiver.statuses[0]["pricing"]["type"] == "regular"
    for wrong in ({"regime": "barter"}, {"free_pool": -1}, {"webhook_version": "latest"}, {"tokn": 1}):
        response = await world.client.put("/simulator/settings", json=wrong)
        assert response.status == 400
    assert world.sim.config.regime == "auto"
    response = await world.client.post("/simulator/groups", json={"members": ["16505551234"]})
    assert (await response.json())["id"] in world.sim.users.groups


async def test_a_webhook_address_can_be_verified_first(start):
    world = await start()
    url = world.sim.config.webhook_url
    for token, status in (("right", 200), ("wrong", 400)):
        asked = {"url": url, "verify_token": token}
        assert (await world.client.put("/simulator/webhook", json=asked)).status == status


@pytest.mark.parametrize(
    ("method", "path", "body", "words"),
    [
        ("PUT", "behaviour", {"tims": 3}, "tims"),
        ("PUT", "behaviour", {"statuses": ["gone"]}, "unknown statuses"),
        ("POST", "inbound", {"to": "12"}, "no number 12"),
        ("POST", "inbound", {"type": "order"}, "needs its content"),
        ("POST", "status", {"wamid": "x", "status": "read"}, "no accepted message x"),
        ("POST", "templates", {"name": "x", "category": "LOUD"}, "category"),
        ("POST", "numbers", {"phone_number_id": "a", "waba_id": "1", "display_number": "2"}, "digits only"),
        ("PUT", "clock", "[", "Expecting"),
    ],
)
async def test_mistakes_are_answered_with_a_sentence(start, method, path, body, words):
    world = await start()
    sent = {"data": body} if isinstance(body, str) else {"json": body}
    response = await world.client.request(method, f"/simulator/{path}", **sent)
    assert response.status == 400
    assert words in (await response.json())["error"]


def test_numbers_are_read_from_the_command_line():
    assert Number.parse("1:2:+49 30 1").display_number == "49301"
    assert Number.parse("1:2:3:Europe/Berlin").timezone == "Europe/Berlin"
    with pytest.raises(ValueError, match="PHONE_NUMBER_ID"):
        Number.parse("1:2")
    with pytest.raises(ValueError, match="unknown statuses"):
        SimulatorConfig(statuses=("lost",))


async def test_the_process_says_it_is_ready_and_ends_on_sigterm():
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "farebox.simulator", "--port", "0", stdout=asyncio.subprocess.PIPE, env=dict(os.environ)
    )
    assert process.stdout is not None
    line = (await process.stdout.readline()).decode()
    url = line.split()[3]
    async with aiohttp.ClientSession() as session, session.get(f"{url}/simulator") as response:
        assert response.status == 200
    process.send_signal(signal.SIGTERM)
    assert await process.wait() == 0
    assert await process.stdout.read() == b""


@pytest.mark.parametrize("wrong", [["--port", "99999"], ["--number", "1:2"], ["--statuses", "lost"], ["--regime", "x"]])
def test_bad_usage_is_exit_2(wrong, capsys):
    with pytest.raises(SystemExit) as ended:
        main(wrong)
    assert ended.value.code == 2
    assert wrong[1].split(",")[0] in capsys.readouterr().err
