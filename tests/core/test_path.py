import pytest

from farebox.core.path import BadPathError, read_path
from farebox.core.reply import Dialect

SENDS = [
    ("/v23.0/106540352242922/messages", "106540352242922", Dialect.CLOUD),
    ("/v13.0/1/marketing_messages", "1", Dialect.CLOUD),
    ("/106540352242922/messages", "106540352242922", Dialect.CLOUD),
    ("/v23.0/1/messages/", "1", Dialect.CLOUD),
    ("/v23.0/1/MESSAGES", "1", Dialect.CLOUD),
    ("/messages", None, Dialect.D360),
    ("/v1/messages", None, Dialect.ON_PREMISE),
]


@pytest.mark.parametrize(("path", "number_id", "dialect"), SENDS)
def test_sends_are_known_by_their_path(path: str, number_id: str | None, dialect: Dialect) -> None:
    route = read_path("POST", path, "access_token=x")
    assert (route.send, route.number_id, route.dialect) == (True, number_id, dialect)


PASSES = [
    ("GET", "/v23.0/1/messages"),
    ("POST", "/v23.0/1/media"),
    ("GET", "/v23.0/123/message_templates"),
    ("DELETE", "/v23.0/98765"),
    ("GET", "/whatsapp_business/attachments/"),
    ("POST", "/1/calls"),
    ("GET", "/"),
    ("GET", "/v1/configs/templates"),
]


@pytest.mark.parametrize(("method", "path"), PASSES)
def test_everything_else_passes(method: str, path: str) -> None:
    assert read_path(method, path, "fields=name").send is False


TRICKS = [
    ("POST", "/v23.0/1%2Fmessages", ""),
    ("POST", "/v23.0//1/messages", ""),
    ("POST", "/v23.0/./1/messages", ""),
    ("POST", "/x/../v23.0/1/messages", ""),
    ("POST", "/v23.0/1/%2e%2e/1/messages", ""),
    ("POST", "/v23.0/1\\messages", ""),
    ("POST", "/v23.0/1/messages%00", ""),
    ("POST", "/v23.0/v23.0/1/messages", ""),
    ("POST", "/v23.0/abc/messages", ""),
    ("POST", "/whatever/messages", ""),
    ("PUT", "/v23.0/1/messages", ""),
    ("BREW", "/v1/messages", ""),
    ("POST", "/", ""),
    ("POST", "/v23.0", "batch=[]"),
    ("POST", "/v23.0/", ""),
    ("GET", "/v23.0/1/messages", "method=POST&to=1"),
    ("POST", "/v23.0/1/messages", "type=template"),
    ("POST", "/v23.0/1/messages", "to=1"),
]


@pytest.mark.parametrize(("method", "path", "query"), TRICKS)
def test_a_send_in_disguise_is_refused(method: str, path: str, query: str) -> None:
    with pytest.raises(BadPathError):
        read_path(method, path, query)
