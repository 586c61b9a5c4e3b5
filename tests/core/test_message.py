import json
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from farebox.core.message import CORRELATION, BadMessageError, Kind, Message, parse_message, storable, with_correlation

TEMPLATE = {"name": "order_update", "language": {"code": "en_US"}}
HSM = {"namespace": "x", "element_name": "order_update", "language": {"policy": "deterministic", "code": "en_US"}}
MESSAGES: list[tuple[dict[str, Any], Kind, str]] = [
    ({"to": "+1 (650) 555-1234", "type": "text", "text": {"body": "x"}}, Kind.SERVICE, "16505551234"),
    ({"to": "16505551234", "text": {"body": "x"}}, Kind.SERVICE, "16505551234"),  # type may be missing
    ({"to": 16505551234, "type": "image", "image": {"id": "1"}}, Kind.SERVICE, "16505551234"),
    ({"to": "1", "type": "a_type_of_tomorrow"}, Kind.SERVICE, "1"),
    ({"to": "1", "type": "text", "context": None}, Kind.SERVICE, "1"),
    ({"to": "1", "type": "template", "template": TEMPLATE}, Kind.TEMPLATE, "1"),
    ({"to": "1", "type": "hsm", "hsm": HSM}, Kind.TEMPLATE, "1"),
    ({"to": "1", "type": "reaction", "reaction": {"emoji": ""}}, Kind.REACTION, "1"),
    ({"to": "1", "type": "text", "category": "utility"}, Kind.DIRECT, "1"),
    ({"to": "1", "type": "text", "category": "service"}, Kind.SERVICE, "1"),
    ({"recipient": "US.13491208655302741918", "type": "text"}, Kind.SERVICE, "US.13491208655302741918"),
    ({"to": "49151", "recipient": "US.1349", "type": "text"}, Kind.SERVICE, "49151"),
    ({"status": "read", "message_id": "wamid.X", "typing_indicator": {"type": "text"}}, Kind.NOT_A_MESSAGE, ""),
    ({"recipient_type": "individual", "to": "1", "type": "text"}, Kind.SERVICE, "1"),
]


@pytest.mark.parametrize(("fields", "kind", "user"), MESSAGES)
def test_messages_are_classified(fields: dict[str, Any], kind: Kind, user: str) -> None:
    message = parse_message(json.dumps({"messaging_product": "whatsapp", **fields}).encode())
    assert (message.kind, message.user) == (kind, user)


BAD = [
    (b"", "not valid JSON"),
    (b"{", "not valid JSON"),
    (b"[]", "must be a JSON object"),
    (b"\xff", "not valid JSON"),
    (b'{"to": NaN}', "NaN"),
    (b"[" * 100_000, "not valid JSON"),
    (b'{"type":"text"}', "to is missing"),
    (b'{"to":""}', "to: a recipient is a phone number"),
    (b'{"to":true}', "to must be"),
    (b'{"to":["1"]}', "to must be"),
    (b'{"to":"abc","type":"text"}', "to: a recipient is a phone number"),
    (b'{"to":"1","type":3}', "type must be"),
    (b'{"to":"1","type":"template"}', "template is missing"),
    (b'{"to":"1","type":"template","template":{"name":"x"}}', "language.code"),
    (b'{"to":"1","type":"template","template":{"language":{"code":"en"}}}', "template.name"),
    (b'{"to":"1","type":"Template","template":{"name":"x"}}', "type template"),
    (b'{"to":"1","type":"hsm"}', "template is missing"),
    (b'{"to":"1","type":"hsm","hsm":{"name":"x","language":{"code":"en"}}}', "template.name"),
    (b'{"to":"1","type":"text","hsm":{}}', "type template"),
    (b'{"to":"1","type":"reaction","type":"template"}', "given twice"),
    (b'{"to":"1","type":"text","category":"marketing"}', "category"),
    (b'{"to":7,"recipient_type":"group","type":"text"}', "id of a group"),
    (b'{"to":"1","recipient_type":"everybody","type":"text"}', "individual or group"),
    (b'{"status":"read","to":"1","text":{"body":"free?"}}', "can not also carry"),
    (b'{"to":"1"} x', "not valid JSON"),
    (b'{"to":"1"}{"to":"1"}', "not valid JSON"),
    (b'{"to":"1"}\x0b', "not valid JSON"),
    (b"{\xff}", "not valid JSON"),
    (b"{\0", "not valid JSON"),
    (b'"to"', "must be a JSON object"),
    (b'{"to":"1","text":{"a":1,"a":1}}', "given twice"),
]


@pytest.mark.parametrize(("body", "said"), BAD)
def test_what_can_not_be_priced_is_refused_in_one_sentence(body: bytes, said: str) -> None:
    with pytest.raises(BadMessageError, match=said):
        parse_message(body)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-be"])
@pytest.mark.parametrize("space", ["", " \t\r\n"])
def test_json_is_read_in_every_encoding_that_it_may_have(encoding: str, space: str) -> None:
    body = space + json.dumps({"to": "1", CORRELATION: "Zürich"}, ensure_ascii=False) + space
    message = parse_message(body.encode(encoding))
    assert (message.user, message.client_reference, message.has_correlation) == ("1", "Zürich", True)


def test_decimals_are_exact() -> None:
    body = b'{"to":"1","type":"template","template":%s,"bid_spec":{"per_message_bid_multiplier":1.10000000000000001}}'
    message = parse_message(body % json.dumps(TEMPLATE).encode())
    assert message.bid_multiplier == Decimal("1.10000000000000001")


def test_messages_are_values() -> None:
    one, same = (parse_message(b'{"to":"1","text":{"body":"x"}}') for _ in range(2))
    assert (one, hash(one)) == (same, hash(same))
    assert one._replace(user="2") == Message(Kind.SERVICE, "2")
    assert one.user == "1"


def test_a_template_is_named_with_its_language() -> None:
    for fields in ({"type": "template", "template": TEMPLATE}, {"type": "hsm", "hsm": HSM}):
        message = parse_message(json.dumps({"to": "1", **fields}).encode())
        assert (message.template_name, message.template_language) == ("order_update", "en_US")


@given(st.dictionaries(st.text(max_size=9), st.integers() | st.text(), max_size=4), st.sampled_from(["", " ", "\n\t"]))
def test_the_correlation_is_added_and_nothing_else_changes(fields: dict[str, Any], space: str) -> None:
    fields.pop("biz_opaque_callback_data", None)
    body = (json.dumps(fields) + space).encode()
    assert json.loads(with_correlation(body, "h-1")) == fields | {"biz_opaque_callback_data": "h-1"}


@given(st.text())
def test_storable_text_can_be_stored(text: str) -> None:
    stored = storable(text + "\x00")
    assert "\x00" not in stored
    stored.encode()


def test_half_a_surrogate_is_replaced() -> None:
    assert storable("a\ud800b") == "a?b"
