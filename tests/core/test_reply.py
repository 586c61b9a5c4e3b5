import json
from pathlib import Path
from typing import Any

import pytest

from farebox.core.reply import OUT_OF_FUNDS, Dialect, error_reply

DOCUMENT = Path(__file__).parent.parent / "samples" / "insights-and-billing.txt"


def places(dialect: Dialect, content: Any) -> list[str]:
    """Where clients of a dialect look for the sentence."""
    match dialect:
        case Dialect.CLOUD:
            return [content["error"]["message"], content["error"]["error_data"]["details"]]
        case Dialect.D360:
            return [content["meta"]["developer_message"]]
        case Dialect.ON_PREMISE:
            return [content["errors"][0]["details"]]


def test_the_sentence_is_the_documents() -> None:
    last_line = DOCUMENT.read_text(encoding="utf-8").strip().splitlines()[-1]
    assert last_line.encode() == OUT_OF_FUNDS.encode()


@pytest.mark.parametrize("dialect", Dialect)
def test_the_sentence_stands_byte_for_byte_where_clients_look(dialect: Dialect) -> None:
    reply = error_reply(dialect, status=402, code=131042, sentence=OUT_OF_FUNDS)
    assert OUT_OF_FUNDS.encode() in reply.body
    for place in places(dialect, json.loads(reply.body)):
        assert place == OUT_OF_FUNDS


def test_the_cloud_shape_is_what_client_libraries_parse() -> None:
    content = json.loads(error_reply(Dialect.CLOUD, status=402, code=131042, sentence="S").body)
    assert isinstance(content["error"].pop("fbtrace_id"), str)
    assert content == {
        "error": {
            "message": "S",
            "type": "OAuthException",
            "code": 131042,
            "error_data": {"messaging_product": "whatsapp", "details": "S"},
        }
    }
