"""Templates and the two files that go with them."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from http import HTTPStatus
from typing import Any

from aiohttp import web
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from farebox.assets import PACKAGE

_WEB = PACKAGE / "web"
_TYPES = {"css": "text/css", "js": "text/javascript", "svg": "image/svg+xml"}

# Nothing from outside, nothing inline, no frame around us. What a form posts goes to us.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
HEADERS: Mapping[str, str] = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}


@dataclass(frozen=True, slots=True)
class Asset:
    """A file that pages load: its bytes, its type, and the tag that changes with it."""

    content: bytes
    media_type: str
    tag: str


@cache
def assets() -> dict[str, Asset]:
    """Return the files that pages load, by name."""
    found = {}
    for file in sorted((_WEB / "static").iterdir()):
        content = file.read_bytes()
        tag = hashlib.sha256(content).hexdigest()[:16]
        found[file.name] = Asset(content, _TYPES[file.suffix[1:]], tag)
    return found


def asset_url(name: str) -> str:
    """Return the address of a file; another content has another address, so a browser may keep it."""
    return f"/assets/{name}?{assets()[name].tag}"


async def serve_asset(request: web.Request) -> web.Response:
    """Serve a file that pages load."""
    asset = assets().get(request.match_info["name"])
    if asset is None:
        return web.Response(status=404, text=HTTPStatus.NOT_FOUND.phrase)
    lasting = "public, max-age=31536000, immutable" if request.query_string == asset.tag else "no-cache"
    headers = {**HEADERS, "ETag": f'"{asset.tag}"', "Cache-Control": lasting}
    if any(tag.value in (asset.tag, "*") for tag in request.if_none_match or ()):
        return web.Response(status=304, headers=headers)
    return web.Response(body=asset.content, content_type=asset.media_type, charset="utf-8", headers=headers)


@cache
def environment() -> Environment:
    """Return the templates. A name that a template misspells is an error, not an empty place."""
    made = Environment(
        loader=FileSystemLoader(_WEB / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        extensions=["jinja2.ext.i18n", "jinja2.ext.do"],
        auto_reload=False,
    )
    made.globals["asset_url"] = asset_url
    made.filters["label"] = lambda number: number.display_phone_number or number.phone_number_id
    return made


def page(template: str, values: Mapping[str, Any], *, status: int = 200) -> web.Response:
    """Render a page as an answer."""
    text = environment().get_template(template).render(values)
    headers = {**HEADERS, "Cache-Control": "no-store"}
    return web.Response(text=text, status=status, content_type="text/html", charset="utf-8", headers=headers)
