import json
from typing import Any

import pytest

from farebox.core.signature import sign, signature_ok
from farebox.core.webhook import BadWebhookError, Part, cut_for, load_webhook, parts_of


def change(number_id: str | None, **value: Any) -> dict[str, Any]:
    metadata = {"metadata": {"phone_number_id": number_id}} if number_id else {}
    return {"field": "messages", "value": {"messaging_product": "whatsapp", **metadata, **value}}


def payload(*changes: dict[str, Any], waba: str = "9") -> dict[str, Any]:
    return {"object": "whatsapp_business_account", "entry": [{"id": waba, "changes": list(changes)}]}


def status(wamid: str, said: str = "delivered", **fields: Any) -> dict[str, Any]:
    return {"id": wamid, "status": said, "timestamp": "1750030073", "recipient_id": "16505551234", **fields}


def test_every_entry_change_message_and_status_is_read() -> None:
    both = payload(
        change("1", statuses=[status("a"), status("b")], messages=[{"from": "49151", "timestamp": "5"}]),
        change("2", statuses=[status("c")]),
    )
    both["entry"].append(payload(change("1", statuses=[status("d")]))["entry"][0])
    parts = parts_of(both)
    assert [(part.number_id, [s.wamid for s in part.statuses]) for part in parts] == [
        ("1", ["a", "b"]),
        ("2", ["c"]),
        ("1", ["d"]),
    ]
    assert parts[0].inbound[0].users == ("49151",)
    assert parts[0].inbound[0].at_ms == 5_000


PRICES = [
    ({"type": "regular", "category": "marketing", "billable": True}, False, "marketing"),
    ({"type": "free_customer_service", "category": "service", "billable": False}, True, "service"),
    ({"type": "free_entry_point", "category": "referral_conversion"}, True, "referral_conversion"),
    ({"type": "free_group_customer_service", "category": "group_service"}, True, "group_service"),
    ({"type": "regular", "category": "authentication-international"}, False, "authentication_international"),
    ({"pricing_model": "CBP", "category": "service", "billable": False}, True, "service"),
    ({"pricing_model": "CBP", "category": "marketing", "billable": True}, False, "marketing"),
    ({"type": "a_type_of_tomorrow", "category": 7}, False, ""),
]


@pytest.mark.parametrize(("pricing", "free", "category"), PRICES)
def test_pricing_is_read(pricing: dict[str, Any], free: bool, category: str) -> None:
    (part,) = parts_of(payload(change("1", statuses=[status("a", pricing=pricing)])))
    price = part.statuses[0].pricing
    assert price is not None
    assert (price.free, price.category) == (free, category)


STRANGE = [
    {},
    {"entry": None},
    {"entry": [None, 1, {"id": 5, "changes": "x"}]},
    payload({"field": "messages", "value": None}),
    payload(change("1", statuses={"id": "a"}, messages=[None, 1, {"from": 7}])),
    payload(change("1", statuses=[{"id": None, "status": 3, "timestamp": "soon", "pricing": [], "errors": ["x"]}])),
    payload(change("1", statuses=[status("a", timestamp="9" * 40, conversation={"expiration_timestamp": {}})])),
]


@pytest.mark.parametrize("strange", STRANGE)
def test_what_is_not_understood_is_skipped(strange: dict[str, Any]) -> None:
    for part in parts_of(strange):
        assert isinstance(part, Part)
        assert part.inbound == ()


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"3", b"[" * 100_000])
def test_what_is_no_webhook_is_said_so(body: bytes) -> None:
    with pytest.raises(BadWebhookError):
        load_webhook(body)


def test_users_without_a_phone_number_are_known_by_their_id() -> None:
    inbound = {"from": "", "from_user_id": "US.134912", "timestamp": "5"}
    (part,) = parts_of(payload(change("1", messages=[inbound], statuses=[status("a", recipient_id=None)])))
    assert part.inbound[0].users == ("US.134912",)
    assert part.statuses[0].users == ()


TEMPLATES = [
    ("template_category_update", {"new_category": "MARKETING", "previous_category": "UTILITY"}, "marketing", None),
    # The impending form: new_category is the current one.
    ("template_category_update", {"new_category": "UTILITY", "correct_category": "MARKETING"}, "utility", None),
    ("message_template_status_update", {"event": "PAUSED"}, None, "PAUSED"),
]


@pytest.mark.parametrize(("field", "value", "category", "state"), TEMPLATES)
def test_template_changes_are_read(field: str, value: dict[str, Any], category: str | None, state: str | None) -> None:
    named = {"message_template_name": "sale", "message_template_language": "en-US", **value}
    (part,) = parts_of(payload({"field": field, "value": named}))
    (template,) = part.templates
    assert (template.language, template.category, template.status) == ("en_US", category, state)


def test_a_part_of_a_payload_keeps_metas_escaping_and_only_its_own_changes() -> None:
    both = payload(change("1", messages=[{"from": "1", "text": {"body": "é"}}]), change("2"), change(None))
    assert b"\\u00e9" in cut_for(both, {"1"}, set())
    assert [part.number_id for part in parts_of(json.loads(cut_for(both, {"1"}, set())))] == ["1"]
    assert [part.number_id for part in parts_of(json.loads(cut_for(both, {"2"}, {"9"})))] == ["2", None]
    assert json.loads(cut_for(both, {"3"}, set()))["entry"] == []


def test_the_unwrapped_body_of_the_on_premise_api_is_read_and_names_no_number() -> None:
    pricing = {"billable": False, "pricing_model": "CBP", "category": "service"}
    failed = status("b", "failed", type="message", errors=[{"code": 470, "title": "x", "href": "y"}])
    delivered = status("a", pricing=pricing, conversation={"id": "c"}, metadata={"phone_number_id": "1"})
    (part,) = parts_of({"statuses": [delivered, failed], "metadata": {"phone_number_id": "1"}})
    assert (part.waba_id, part.number_id, part.inbound, part.templates) == ("", None, (), ())
    assert [(s.wamid, s.status, s.delivered, s.error_code) for s in part.statuses] == [
        ("a", "delivered", True, None),
        ("b", "failed", False, 470),
    ]
    price = part.statuses[0].pricing
    assert price is not None
    assert (price.free, price.type, price.category) == (True, "", "service")
    (part,) = parts_of({"contacts": [{"wa_id": "49151"}], "messages": [{"from": "49151", "timestamp": "5"}]})
    assert (part.inbound[0].users, part.inbound[0].at_ms, part.statuses) == (("49151",), 5_000, ())


def test_signatures() -> None:
    header = sign(b"body", "secret")
    assert header == "sha256=dc46983557fea127b43af721467eb9b3fde2338fe3e14f51952aa8478c13d355"
    assert signature_ok(b"body", "secret", header)
    for wrong in ("", "sha256=", header.upper(), header[:-1], "é", "\udcff"):
        assert not signature_ok(b"body", "secret", wrong)
    assert not signature_ok(b"body.", "secret", header)
