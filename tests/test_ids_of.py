"""What is read from WhatsApp's answer to a send, whatever that may be."""

import json
from typing import Any

import pytest

from farebox.answers import ids_of

CONTACTS = [{"input": "+1 650", "wa_id": "16505551234"}]
ANSWERS: list[tuple[Any, str | None, str | None]] = [
    ({"contacts": CONTACTS, "messages": [{"id": "wamid.A", "message_status": "accepted"}]}, "wamid.A", "16505551234"),
    ({"messages": [{"id": "wamid.A"}, {"id": "wamid.B"}]}, "wamid.A", None),
    ({"calls": [{"id": "wacid.A"}], "contacts": []}, "wacid.A", None),
    ({"messages": [{"id": ""}], "contacts": [{"wa_id": 1650}]}, None, None),
    ({"messages": {"id": "wamid.A"}, "contacts": "none"}, None, None),
    ({"messages": [{"id": "wamid.Ä\0"}]}, "wamid.Ä", None),
    ([], None, None),
    (None, None, None),
]


@pytest.mark.parametrize(("answer", "wamid", "wa_id"), ANSWERS)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_ids(answer: Any, wamid: str | None, wa_id: str | None, encoding: str) -> None:
    assert ids_of(json.dumps(answer, ensure_ascii=False).encode(encoding)) == (wamid, wa_id)


@pytest.mark.parametrize("body", [b"", b"{", b"{\xff}", b"<html>", b"[" * 100_000, b'{"messages":[{"id":"w"}]} x'])
def test_what_is_no_json_has_no_ids(body: bytes) -> None:
    assert ids_of(body) == (None, None)
