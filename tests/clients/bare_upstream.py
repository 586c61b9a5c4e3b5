"""An upstream that shows what the gateway really sends to it, tokens included, and answers byte for byte as told."""

from dataclasses import dataclass, field

from aiohttp import web
from multidict import CIMultiDict

JSON = ("Content-Type", "application/json")


@dataclass
class Asked:
    """One request as it arrived."""

    method: str
    raw_path: str
    headers: CIMultiDict[str]
    body: bytes


@dataclass
class BareUpstream:
    """Stands where WhatsApp stands. The simulator blanks tokens in its log and answers like Meta; this does neither."""

    asked: list[Asked] = field(default_factory=list)
    status: int = 200
    headers: tuple[tuple[str, str], ...] = (JSON,)
    body: bytes = b'{"success":true}'
    url: str = ""

    def answers(self, body: bytes, *headers: tuple[str, str], status: int = 200) -> None:
        self.body, self.headers, self.status = body, headers or (JSON,), status

    async def handle(self, request: web.BaseRequest) -> web.Response:
        self.asked.append(Asked(request.method, request.raw_path, CIMultiDict(request.headers), await request.read()))
        return web.Response(status=self.status, body=self.body, headers=CIMultiDict(self.headers))
