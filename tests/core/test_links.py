from typing import Any

import pytest

from farebox.core.links import rewrite_links

GRAPH = "https://graph.facebook.com"
CDN = "https://lookaside.fbsbx.com"
BOX = "http://box:8080"
LINKS: list[tuple[Any, str | None, Any]] = [
    (
        {"data": [], "paging": {"cursors": {}, "next": f"{GRAPH}/v23.0/9/message_templates?access_token=EAA&after=x"}},
        None,
        {"data": [], "paging": {"cursors": {}, "next": f"{BOX}/v23.0/9/message_templates?after=x"}},
    ),
    (
        {"paging": {"previous": f"{GRAPH}/v23.0/9/x?access_token=EAA"}},
        "fbx_k",
        {"paging": {"previous": f"{BOX}/v23.0/9/x?access_token=fbx_k"}},
    ),
    (
        {"conversations": {"data": [{"paging": {"next": f"{GRAPH}/a?b=1"}}]}},
        None,
        {"conversations": {"data": [{"paging": {"next": f"{BOX}/a?b=1"}}]}},
    ),
    (
        {"url": f"{CDN}/whatsapp_business/attachments/?mid=1&ext=2&hash=A_b", "id": "1"},
        None,
        {"url": f"{BOX}/whatsapp_business/attachments/?mid=1&ext=2&hash=A_b", "id": "1"},
    ),
]


@pytest.mark.parametrize(("answer", "token", "rewritten"), LINKS)
def test_links_lead_back_to_the_gateway(answer: Any, token: str | None, rewritten: Any) -> None:
    assert rewrite_links(answer, public_url=BOX, upstream_urls=(GRAPH, CDN), client_token=token) is True
    assert answer == rewritten


@pytest.mark.parametrize(
    "answer",
    [
        None,
        [],
        3,
        {"url": "https://example.com/picture.png"},
        {"url": "https://graph.facebook.com.evil.example/x"},
        {"data": [{"url": f"{GRAPH}/x"}]},  # a button of a template, not a link to follow
        {"paging": {"next": None}},
        {"paging": "none"},
    ],
)
def test_other_links_stay(answer: Any) -> None:
    assert rewrite_links(answer, public_url=BOX, upstream_urls=(GRAPH, CDN), client_token=None) is False
