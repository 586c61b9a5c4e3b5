"""Links in the upstream's answers that would lead a client around the gateway.

Clients follow absolute `paging.next` and media `url`s. Left alone, the client's own key would go to WhatsApp, and the
upstream's token, which Graph writes into `paging.next`, would come to the client.
"""

from typing import Any
from urllib.parse import parse_qsl, quote, urlencode, urlsplit, urlunsplit

# Graph's tokens have about 200 characters. What is shorter than this is a toy, and would be found inside other words.
MIN_TOKEN = 12
MAX_DEPTH = 20  # of an answer that is searched for paging; Graph's nest about five levels


def rewrite_links(answer: Any, *, public_url: str, upstream_urls: tuple[str, ...], client_token: str | None) -> bool:
    """Point `url` and `paging.next|previous` at the gateway, in place; tell whether anything changed.

    A token in a link becomes the client's own where it authenticates by query, and is left out otherwise.
    """
    changed = False
    if isinstance(answer, dict):
        changed = _rewrite(answer, "url", public_url, upstream_urls, client_token)
    for paging in _pagings(answer, MAX_DEPTH):
        for name in ("next", "previous"):
            changed |= _rewrite(paging, name, public_url, upstream_urls, client_token)
    return changed


def swap_token(body: bytes, upstream_token: str, client_token: str) -> bytes:
    """Put the client's token where an answer has the upstream's: the mirror of what was done to the call.

    Graph repeats tokens in links and in error sentences, not only where `rewrite_links` looks.
    """
    if upstream_token == client_token or len(upstream_token) < MIN_TOKEN:
        return body
    for form in {upstream_token, quote(upstream_token, safe="")}:
        body = body.replace(form.encode(), client_token.encode())
    return body


def _pagings(value: Any, depth: int) -> list[dict[str, Any]]:
    found = []
    if depth and isinstance(value, dict):
        for name, inner in value.items():
            if name == "paging" and isinstance(inner, dict):
                found.append(inner)
            else:
                found += _pagings(inner, depth - 1)
    elif depth and isinstance(value, list):
        for inner in value:
            found += _pagings(inner, depth - 1)
    return found


def _rewrite(
    fields: dict[str, Any], name: str, public_url: str, upstream_urls: tuple[str, ...], client_token: str | None
) -> bool:
    link = fields.get(name)
    base = next((url for url in upstream_urls if isinstance(link, str) and link.startswith(url + "/")), None)
    if base is None:
        return False
    assert isinstance(link, str), "it has a prefix"
    scheme, host, path, query, fragment = urlsplit(public_url + link.removeprefix(base))
    pairs = parse_qsl(query, keep_blank_values=True)
    if any(key == "access_token" for key, _ in pairs):
        kept = [(key, value) for key, value in pairs if key != "access_token"]
        query = urlencode(kept + ([("access_token", client_token)] if client_token else []))
    fields[name] = urlunsplit((scheme, host, path, query, fragment))
    return True
