"""A send with an Idempotency-Key is forwarded once; a repetition is told the first answer."""

import asyncio

import pytest

from farebox.config import Settings
from farebox.core.reply import OUT_OF_FUNDS
from farebox.idempotency import KEEP_MS, BadKeyError, read_key
from farebox.simulator import Behaviour
from farebox.simulator.config import Number
from farebox.wallet import Wallet, WalletUnavailableError
from harness import NUMBER, USER, WABA, World, nobody_upstream, reaction, template, text
from keying import KEY, SILENT, keyed, same, second_gateway
from test_outbound import rows

KEPT = {
    "accepted": (SILENT, 200),
    "refused by WhatsApp": (Behaviour(http_status=400, code=131009), 400),
    "WhatsApp is down": (Behaviour(http_status=503, code=2), 503),
    "no JSON at all": (Behaviour(http_status=502, raw_body="<html>Bad Gateway</html>"), 502),
    "fate unknown": (Behaviour(reset=True), 504),
}


@pytest.mark.parametrize("case", KEPT)
async def test_what_whatsapp_answered_is_told_again_byte_for_byte(world: World, case: str) -> None:
    behaviour, status = KEPT[case]
    await world.fund("1.00")
    world.whatsapp.behave(behaviour)
    first = await keyed(world)
    asked = len(world.whatsapp.requests)
    balance = await world.balance()
    assert first.status == status
    assert "Idempotency-Replayed" not in first.headers
    for _ in range(2):
        second = await keyed(world)
        assert same(first, second), (first, second)
    assert len(world.whatsapp.requests) == asked
    assert await world.balance() == balance
    assert (await keyed(world, template(to="4915112345678"))).status == 409
    assert (await keyed(world, key="order-78")).status == status
    assert len(world.whatsapp.requests) == asked + 1


async def test_a_refusal_for_lack_of_funds_is_tried_anew_after_a_topup(world: World) -> None:
    await world.send(reaction())
    before = await rows(world)
    for message in (template(), template("summer_sale")):  # nothing is kept, so nothing conflicts
        answer = await keyed(world, message)
        assert (answer.status, answer.json["error"]["message"]) == (402, OUT_OF_FUNDS)
    assert await rows(world) == before
    await world.fund("1.00")
    first = await keyed(world)
    assert first.status == 200
    assert same(first, await keyed(world))
    assert len(world.whatsapp.sent) == 2  # the reaction and the template


async def test_what_did_not_leave_is_tried_anew(world: World) -> None:
    await world.fund("1.00")
    with nobody_upstream(world.gate):
        for _ in range(2):
            assert (await keyed(world)).status == 502
    assert await world.balance() == {"available": "1.00", "held": "0.00"}
    assert (await keyed(world, template("summer_sale"))).status == 200
    assert len(world.whatsapp.sent) == 1


async def test_a_mistake_of_the_request_does_not_use_the_key_up(world: World) -> None:
    await world.fund("1.00")
    assert (await keyed(world, {"messaging_product": "whatsapp"})).status == 400
    assert (await keyed(world, {**text(to="no-such-group"), "recipient_type": "group"})).status == 400
    assert (await keyed(world)).status == 200


async def test_without_the_ledger_nothing_is_promised_and_nothing_sent(world: World) -> None:
    await world.fund("1.00")
    await world.send(reaction())
    world.gate.ledger._pool.terminate()
    for message in (template(), reaction()):
        answer = await keyed(world, message)
        assert (answer.status, answer.headers["Retry-After"]) == (503, "1")
    assert len(world.whatsapp.sent) == 1
    assert (await world.send(reaction())).status == 200  # without a key it passes


@pytest.fixture
def away(monkeypatch: pytest.MonkeyPatch) -> None:
    """The wallet is away."""

    async def take(*_: object) -> None:
        raise WalletUnavailableError

    monkeypatch.setattr(Wallet, "take", take)


@pytest.mark.usefixtures("away")
async def test_a_free_message_without_the_wallet_is_sent_once(world: World) -> None:
    """There is no hold that could tell the second attempt: the key alone does."""
    first = await keyed(world, reaction())
    assert (first.status, "X-Farebox-Hold" in first.headers) == (200, False)
    assert same(first, await keyed(world, reaction()))
    assert len(world.whatsapp.sent) == 1


async def test_a_number_that_is_not_metered_honours_keys_too(world: World) -> None:
    await world.admin("PATCH", f"/v1/numbers/{NUMBER}", {"mode": "off"})
    first = await keyed(world)
    assert first.status == 200
    assert same(first, await keyed(world))
    assert len(world.whatsapp.sent) == 1


async def test_marking_as_read_passes_with_any_key(world: World) -> None:
    message = {"messaging_product": "whatsapp", "status": "read", "message_id": "wamid.X"}
    for _ in range(2):
        answer = await keyed(world, message)
        assert (answer.status, "Idempotency-Replayed" in answer.headers) == (200, False)


async def test_a_group_send_is_done_once(world: World) -> None:
    await world.fund("1.00")
    world.whatsapp.behave(SILENT)
    group = world.whatsapp.add_group([USER, "4915112345678"])
    message = {**template(), "to": group, "recipient_type": "group"}
    first = await keyed(world, message)
    assert (first.status, first.headers["X-Farebox-Fare"]) == (200, "0.0584")
    assert same(first, await keyed(world, message))
    assert await world.balance() == {"available": "0.9416", "held": "0.0584"}


async def test_a_key_is_its_applications_own_and_its_numbers(world: World) -> None:
    await world.fund("1.00")
    await world.add_number("200")
    await world.fund("1.00", "200")
    world.whatsapp.add_number(Number(phone_number_id="200", waba_id=WABA))
    other = await world.make_key(NUMBER, "200")
    first = await keyed(world)
    answers = [await keyed(world, token=other), await keyed(world, token=other, number_id="200")]
    assert [answer.status for answer in answers] == [200, 200]
    assert len({answer.headers["X-Farebox-Hold"] for answer in (first, *answers)}) == 3


async def test_the_key_is_not_passed_on(world: World) -> None:
    await world.fund("1.00")
    await keyed(world)
    (request,) = [seen for seen in world.whatsapp.requests if seen.path.endswith("/messages")]
    assert "Idempotency-Key" not in request.headers


async def test_a_key_is_free_again_after_a_day(world: World) -> None:
    await world.fund("1.00")
    first = await keyed(world)
    await world.admin("PUT", "/v1/clock", {"advance_s": KEEP_MS / 1000 - 60})
    assert same(first, await keyed(world))
    await world.admin("PUT", "/v1/clock", {"advance_s": 60})
    assert await world.gate.ledger._pool.fetchval("SELECT count(*) FROM idempotency") == 0  # the sweep was there
    again = await keyed(world, template("summer_sale"))
    assert (again.status, "Idempotency-Replayed" in again.headers) == (200, False)


@pytest.mark.parametrize("value", ["", " ", '"', '""', "a b", "ä", "a\x7f", "x" * 256, '"' + "x" * 256 + '"', "\n"])
def test_what_is_no_key(value: str) -> None:
    with pytest.raises(BadKeyError):
        read_key([value])


@pytest.mark.parametrize(("value", "key"), [("a", "a"), ('"a"', "a"), ("x" * 255, "x" * 255), ('a"', 'a"')])
def test_what_is_a_key(value: str, key: str) -> None:
    assert read_key([value]) == key
    with pytest.raises(BadKeyError):
        read_key([value, value])


async def test_a_bad_key_is_one_sentence_and_nothing_is_sent(world: World) -> None:
    await world.fund("1.00")
    answer = await keyed(world, key="two words")
    assert answer.status == 400
    assert "visible ASCII" in answer.json["error"]["message"]
    assert world.whatsapp.sent == []


@pytest.mark.parametrize("dialect", ["360dialog", "on_premise"])
async def test_a_conflict_has_the_callers_own_shape(world: World, dialect: str) -> None:
    await world.fund("1.00")
    await world.admin("PATCH", f"/v1/numbers/{NUMBER}", {"dialect": dialect})
    headers = {"D360-API-KEY": world.key, "Idempotency-Key": KEY}
    for message, status in ((template(), 200), (template("summer_sale"), 409)):
        answer = await world.call("POST", "/v1/messages", json=message, headers=headers)
        assert answer.status == status, answer.body
    assert "key of its own" in answer.json["meta"]["developer_message"]


async def test_of_many_equal_sends_at_once_one_leaves(world: World) -> None:
    """Fifty through two gateways on the same stores."""
    await world.fund("1.00")
    world.whatsapp.behave(SILENT)
    async with second_gateway(world) as url:
        urls = (world.url, url)
        answers = await asyncio.gather(*(keyed(world, url=urls[i % 2]) for i in range(50)))
    assert len(world.whatsapp.sent) == 1
    statuses = [answer.status for answer in answers]
    assert set(statuses) <= {200, 409}
    assert sum(a.status == 200 and "Idempotency-Replayed" not in a.headers for a in answers) == 1
    assert all(a.headers["Retry-After"] == "1" for a in answers if a.status == 409)
    assert await world.balance() == {"available": "0.9966", "held": "0.0034"}


@pytest.mark.usefixtures("away")
async def test_a_paid_send_of_an_outage_is_done_once_and_told_again(settings: Settings) -> None:
    """The wallet is away and the operator lets sends pass: the claim names the hold that is recorded later."""
    allowed = settings.model_copy(update={"on_outage": "allow_up_to", "outage_allowance": "1.00"})
    async with World.open(allowed) as world:
        first = await keyed(world)
        assert (first.status, first.headers["X-Farebox-Class"]) == (200, "paid")
        assert same(first, await keyed(world))
        assert len(world.whatsapp.sent) == 1
        hold_id = await world.gate.ledger._pool.fetchval("SELECT hold_id FROM idempotency")
        assert str(hold_id) == first.headers["X-Farebox-Hold"]
        world.gate.ledger._pool.terminate()
        assert (await keyed(world, key="order-78")).status == 503  # without the ledger not even then
        assert len(world.whatsapp.sent) == 1
