import pytest

from farebox.core.path import BadPathError, UnknownSendError, dialect_of, read_path
from farebox.core.reply import Dialect

SENDS = [
    ("/v23.0/106540352242922/messages", "106540352242922", Dialect.CLOUD),
    ("/v13.0/1/marketing_messages", "1", Dialect.CLOUD),
    ("/106540352242922/messages", "106540352242922", Dialect.CLOUD),
    ("/v23.0/1/messages/", "1", Dialect.CLOUD),
    ("/v23.0/1/MESSAGES", "1", Dialect.CLOUD),
    ("/messages", None, Dialect.D360),
    ("/marketing_messages", None, Dialect.D360),
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
    ("GET", "/1/calls"),
    ("POST", "/v23.0/9/message_templates"),
    ("POST", "/v23.0/1/message_qrdls"),
    ("GET", "/"),
    ("GET", "/v1/configs/templates"),
    ("PUT", "/v1/messages/gBGGSFcCNEOPAgkO_KJ55r4w_ww"),
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
    ("POST", "/v1/messages/abc", ""),
    ("POST", "/messages/Messages", ""),
    ("POST", "/MESSAGES/1", ""),
]


@pytest.mark.parametrize(("method", "path", "query"), TRICKS)
def test_a_send_in_disguise_is_refused(method: str, path: str, query: str) -> None:
    with pytest.raises(BadPathError):
        read_path(method, path, query)


CALLERS = [
    ("/v23.0/1/media", False, Dialect.CLOUD),
    ("/v1/1/media", False, Dialect.CLOUD),
    ("/v23.0/1/media", True, Dialect.CLOUD),
    ("/1", False, Dialect.CLOUD),
    ("/1", True, Dialect.D360),  # media: the path is the same in both
    ("/configs/webhook", False, Dialect.D360),
    ("/messages//", False, Dialect.D360),
    ("/v1/messages/x", True, Dialect.ON_PREMISE),
    ("/v1/%2e%2e/messages", False, Dialect.ON_PREMISE),
    ("", False, Dialect.CLOUD),
]


@pytest.mark.parametrize(("path", "d360_key", "dialect"), CALLERS)
def test_whose_errors_a_caller_reads(path: str, d360_key: bool, dialect: Dialect) -> None:
    assert dialect_of(path, d360_key=d360_key) is dialect


@pytest.mark.parametrize("path", ["/v23.0/1/bulk_messages", "/v24.0/1/send", "/1/broadcasts", "/v23.0/x/calls"])
def test_an_unknown_send_is_refused_unless_a_setting_says_otherwise(path: str) -> None:
    with pytest.raises(UnknownSendError):
        read_path("POST", path, "")
    assert read_path("POST", path, "", pass_unknown_sends=True).send is False


def test_a_call_is_metered_as_a_call() -> None:
    route = read_path("POST", "/v23.0/1/calls", "")
    assert (route.send, route.call, route.number_id) == (True, True, "1")
