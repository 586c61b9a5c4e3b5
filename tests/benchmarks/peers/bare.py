"""A reverse proxy that enforces nothing: what aiohttp's server and client cost before farebox has done anything.

No key, no JSON, no money, no log. Usage: bare.py UPSTREAM. Prints where it serves.
"""

import asyncio
import sys

import uvloop
from aiohttp import ClientSession, DummyCookieJar, TCPConnector, web
from yarl import URL

READ_WHOLE_BYTES = 1_048_576  # what is larger, or of unknown length, is streamed
OWN_TO_A_CONNECTION = {"connection", "content-length", "host", "keep-alive", "te", "transfer-encoding", "upgrade"}


def is_small(length: int | None) -> bool:
    return length is not None and length <= READ_WHOLE_BYTES


async def serve(upstream: str) -> None:
    """Serve until killed."""
    connections = TCPConnector(limit=0)
    async with ClientSession(connector=connections, auto_decompress=False, cookie_jar=DummyCookieJar()) as client:

        async def forward(request: web.BaseRequest) -> web.StreamResponse:
            headers = {
                name: value for name, value in request.headers.items() if name.lower() not in OWN_TO_A_CONNECTION
            }
            body: object = None
            if request.body_exists:
                if is_small(request.content_length):
                    body = await request.read()
                else:
                    body = request.content
                    if request.content_length is not None:
                        headers["Content-Length"] = str(request.content_length)
            target = URL(upstream + request.raw_path, encoded=True)
            async with client.request(request.method, target, headers=headers, data=body) as answer:
                kept = {"Content-Type": answer.content_type}
                if is_small(answer.content_length):
                    return web.Response(status=answer.status, headers=kept, body=await answer.read())
                response = web.StreamResponse(status=answer.status, headers=kept)
                response.content_length = answer.content_length
                await response.prepare(request)
                async for piece in answer.content.iter_any():
                    await response.write(piece)
                await response.write_eof()
                return response

        runner = web.ServerRunner(web.Server(forward, access_log=None))
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        print(f"serves http://127.0.0.1:{runner.addresses[0][1]}", flush=True)  # noqa: T201  the parent waits for it
        await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(serve(sys.argv[1]))
