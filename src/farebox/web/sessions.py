"""Who is signed in. The cookie holds 32 random bytes, the ledger their digest; real time counts, not the test clock's.

A form carries a second token, derived from the cookie: another site can make a browser send the cookie (it can not
even that: SameSite=Strict), but never read what belongs beside it.
"""

import hashlib
import hmac
import secrets

from aiohttp import web

from farebox.ledger import Ledger
from farebox.web.users import Person, Role

COOKIE = "farebox_session"
IDLE_S = 12 * 3_600  # a working day: whoever looks each morning signs in each morning
LONGEST_S = 7 * 86_400
SEEN_S = 60  # how exactly it is known when a session was used last: one write a minute, not one a click
TOKEN_PERSON = "admin token"  # noqa: S105  what a sandbox calls who signed in with it


async def open_session(ledger: Ledger, user_name: str | None) -> str:
    """Sign somebody in; return the cookie's value. None: with the admin token."""
    cookie = secrets.token_urlsafe(32)
    await ledger.fetch("open_session", _digest(cookie), user_name, LONGEST_S)
    return cookie


async def find_session(ledger: Ledger, cookie: str) -> Person | None:
    """Return who is signed in with a cookie, None where nobody is (any more)."""
    row = await ledger.fetch_one("session", _digest(cookie), IDLE_S, LONGEST_S, SEEN_S)
    if row is None:
        return None
    if row["user_name"] is None:
        return Person(TOKEN_PERSON, Role.OPERATOR)
    return Person(row["user_name"], Role[row["role"].upper()])


async def close_session(ledger: Ledger, cookie: str) -> None:
    """Sign out."""
    await ledger.fetch("close_session", _digest(cookie))


def csrf_of(cookie: str) -> str:
    """Return the token that the forms of a session carry."""
    return hmac.new(cookie.encode(errors="surrogateescape"), b"farebox form", hashlib.sha256).hexdigest()


def set_cookie(request: web.Request, response: web.StreamResponse, cookie: str) -> None:
    """Hand the cookie to the browser: for our own pages alone, and over TLS alone where there is TLS."""
    response.set_cookie(COOKIE, cookie, path="/", httponly=True, samesite="Strict", secure=over_tls(request))


def over_tls(request: web.Request) -> bool:
    """Tell whether the browser came over TLS, to us or to what stands in front of us."""
    return request.secure or request.headers.get("X-Forwarded-Proto", "").lower() == "https"


def _digest(cookie: str) -> bytes:
    return hashlib.sha256(cookie.encode(errors="surrogateescape")).digest()
