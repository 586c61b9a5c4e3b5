"""Who may look, and that a form is ours."""

import io
from argparse import Namespace

import pytest

from farebox.acting import by_command
from farebox.commands import user
from farebox.commands.opened import UsageError
from farebox.web.users import MAX_FAILURES, Role, UserError, put_user
from harness import ADMIN_TOKEN, World
from page.people import Reader

PASSWORD = "correct horse battery"


async def test_a_stranger_is_asked_who_he_is(world: World) -> None:
    stranger = Reader(world)
    seen = await stranger.get("/", status=303)
    assert seen.headers["Location"] == "/sign-in"
    assert (await stranger.ask("GET", "/live")).status == 401
    assert (await stranger.ask("GET", "/sign-in")).status == 200


async def test_signing_in_and_out(world: World) -> None:
    await put_user(world.gate.ledger, "ann", PASSWORD, Role.VIEWER)
    ann = Reader(world)
    assert (await ann.sign_in("ann", "wrong")).status == 422
    seen = await ann.sign_in("Ann ", PASSWORD)
    assert (seen.status, seen.headers["Location"]) == (303, "/")
    cookie = seen.headers["Set-Cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=Strict" in cookie
    assert "Secure" not in cookie
    await ann.get("/")
    kept = dict(ann.cookies)
    await ann.post("/sign-out")
    ann.cookies = kept
    await ann.get("/", status=303)


async def test_the_first_user_is_made_on_the_command_line(
    world: World, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    options = Namespace(deed="add", name="ann", role="finance", generate=True)
    assert await user.run(world.gate.settings, options) == 0
    password = capsys.readouterr().out.split()[-1]
    ann = Reader(world)
    assert (await ann.sign_in("ann", password)).status == 303
    await user.run(world.gate.settings, Namespace(deed="list"))
    assert "ann" in capsys.readouterr().out
    monkeypatch.setattr("sys.stdin", io.StringIO(PASSWORD + "\n"))
    await user.run(world.gate.settings, Namespace(deed="add", name="ann", role="viewer", generate=False))
    await ann.get("/", status=303)
    assert (await ann.sign_in("ann", PASSWORD)).status == 303
    await user.run(world.gate.settings, Namespace(deed="remove", name="ann"))
    await ann.get("/", status=303)
    with pytest.raises(UsageError):
        await user.run(world.gate.settings, Namespace(deed="remove", name="ann"))
    removed, changed, created = (await world.admin("GET", "/v1/audit?kind=user"))["audit"]
    assert {row["who"] for row in (removed, changed, created)} == {by_command("user").who}
    assert (changed["before"]["role"], changed["after"]["role"]) == ("finance", "viewer")
    assert changed["after"]["password_hash"] == "set anew"
    assert removed["what"] == "deleted"


async def test_over_tls_the_cookie_is_for_tls(world: World) -> None:
    await put_user(world.gate.ledger, "ann", PASSWORD, Role.VIEWER)
    form = {"name": "ann", "password": PASSWORD}
    seen = await Reader(world).ask("POST", "/sign-in", form, **{"X-Forwarded-Proto": "https"})
    assert "Secure" in seen.headers["Set-Cookie"]


async def test_a_name_that_was_tried_too_often_waits(world: World) -> None:
    await put_user(world.gate.ledger, "ann", PASSWORD, Role.VIEWER)
    ann = Reader(world)
    for _ in range(MAX_FAILURES):
        assert (await ann.sign_in("ann", "wrong")).status == 422
    assert (await ann.sign_in("ann", PASSWORD)).status == 422
    await put_user(world.gate.ledger, "ann", PASSWORD, Role.VIEWER)
    assert (await ann.sign_in("ann", PASSWORD)).status == 303


async def test_a_new_password_ends_sessions(world: World, reader: Reader) -> None:
    await put_user(world.gate.ledger, "olga", PASSWORD, Role.VIEWER)
    await reader.get("/", status=303)


async def test_a_form_of_another_site_is_refused(world: World, reader: Reader) -> None:
    csrf = (await reader.get("/")).csrf
    for form, headers in (
        ({}, {}),
        ({"csrf": "0" * 64}, {}),
        ({"csrf": csrf}, {"Origin": "https://evil.example"}),
        ({"csrf": csrf}, {"Sec-Fetch-Site": "cross-site"}),
    ):
        assert (await reader.ask("POST", "/sign-out", form, **headers)).status == 403
    await reader.get("/")


async def test_a_sandbox_takes_its_admin_token(world: World) -> None:
    someone = Reader(world)
    assert (await someone.sign_in("", ADMIN_TOKEN)).status == 303
    assert "admin token" in (await someone.get("/")).text


async def test_after_signing_in_one_stays_here(world: World) -> None:
    for asked in ("//evil.example", "https://evil.example", "/\\evil.example"):
        form = {"name": "", "password": ADMIN_TOKEN, "next": asked}
        assert (await Reader(world).ask("POST", "/sign-in", form)).headers["Location"] == "/"


@pytest.mark.parametrize(("name", "password"), [("Ann", PASSWORD), ("", PASSWORD), ("ann", "short")])
async def test_what_is_no_name_or_no_password(world: World, name: str, password: str) -> None:
    with pytest.raises(UserError):
        await put_user(world.gate.ledger, name, password, Role.VIEWER)


async def test_every_page_has_the_policy_and_nothing_inline(reader: Reader) -> None:
    seen = await reader.get("/")
    policy = seen.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    for inline in ("<style", " style=", "onclick", "javascript:"):
        assert inline not in seen.text


async def test_files_have_a_tag_and_last(reader: Reader) -> None:
    page = (await reader.get("/")).text
    url = page.partition('src="')[2].partition('"')[0]
    url = next(part for part in page.split('"') if part.startswith("/assets/farebox.css"))
    seen = await reader.get(url)
    assert "immutable" in seen.headers["Cache-Control"]
    again = await reader.ask("GET", url, **{"If-None-Match": seen.headers["ETag"]})
    assert (again.status, again.text) == (304, "")
    assert (await reader.ask("GET", "/assets/../pages.py")).status == 404
