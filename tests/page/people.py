"""A reader of the page without a browser: keeps cookies, fills forms, reads what came back."""

import re
from dataclasses import dataclass, field
from typing import Any

import aiohttp

from harness import World


@dataclass
class Seen:
    status: int
    text: str
    headers: Any

    @property
    def csrf(self) -> str:
        found = re.search(r'name="csrf" value="([0-9a-f]{64})"', self.text)
        assert found is not None, "no form of a session is on this page"
        return found[1]


@dataclass
class Reader:
    world: World
    language: str = "en-US"
    cookies: dict[str, str] = field(default_factory=dict)

    async def ask(self, method: str, path: str, form: dict[str, str] | None = None, **headers: str) -> Seen:
        headers = {"Accept-Language": self.language, **headers}
        async with (
            aiohttp.ClientSession(cookies=self.cookies, cookie_jar=aiohttp.CookieJar(unsafe=True)) as session,
            session.request(
                method, self.world.admin_url + path, data=form, headers=headers, allow_redirects=False
            ) as answer,
        ):
            for name, cookie in answer.cookies.items():
                self.cookies[name] = cookie.value
            return Seen(answer.status, await answer.text(), answer.headers.copy())

    async def get(self, path: str, *, status: int = 200) -> Seen:
        seen = await self.ask("GET", path)
        assert seen.status == status, seen.text
        return seen

    async def post(self, path: str, *, status: int = 303, **form: str) -> Seen:
        csrf = (await self.get("/")).csrf
        seen = await self.ask("POST", path, {"csrf": csrf, **form})
        assert seen.status == status, seen.text
        return seen

    async def sign_in(self, name: str, password: str) -> Seen:
        return await self.ask("POST", "/sign-in", {"name": name, "password": password, "next": "/"})
