"""Media through the gateway: any size in flat memory, every byte as it was, links that lead back to the gateway."""

import hashlib
import json
import tracemalloc
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest
from bare_upstream import BareUpstream

from harness import NUMBER, WABA, World

UPLOAD = f"/v23.0/{NUMBER}/media"
SIZE = 20 * 1024 * 1024
# Of all that is allocated in this process: gateway, simulator and client together keep a few buffers of 64 to 256 KB.
# A body read whole anywhere would be at least SIZE.
MOST_MEMORY = 8 * 1024 * 1024
CUT = "a-boundary-between-parts"
HEAD = (
    f'--{CUT}\r\nContent-Disposition: form-data; name="file"; filename="film.mp4"\r\nContent-Type: video/mp4\r\n\r\n'
).encode()
TAIL = f"\r\n--{CUT}--\r\n".encode()


@pytest.fixture
def film(tmp_path: Path) -> Path:
    path = tmp_path / "film.mp4"
    with path.open("wb") as file:
        for number in range(SIZE // 1024):
            file.write(number.to_bytes(4, "big") * 256)
    return path


def sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


async def form(film: Path) -> AsyncIterator[bytes]:
    yield HEAD
    with film.open("rb") as file:
        while chunk := file.read(65_536):
            yield chunk
    yield TAIL


async def upload(world: World, data: bytes, content_type: str = "image/png") -> str:
    fields = aiohttp.FormData({"messaging_product": "whatsapp", "type": content_type})
    fields.add_field("file", data, filename="a file", content_type=content_type)
    answer = await world.call("POST", UPLOAD, data=fields)
    media_id: str = answer.json["id"]
    return media_id


@pytest.mark.parametrize("length", ["announced", "unknown"])
async def test_twenty_megabytes_go_up_and_come_down_in_flat_memory(world: World, film: Path, length: str) -> None:
    headers = {"Content-Type": f"multipart/form-data; boundary={CUT}"}
    if length == "announced":
        headers["Content-Length"] = str(len(HEAD) + SIZE + len(TAIL))
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        answer = await world.call(
            "POST", f"{UPLOAD}?messaging_product=whatsapp&type=video/mp4", data=form(film), headers=headers
        )
        found = (await world.call("GET", f"/v23.0/{answer.json['id']}")).json
        digest = hashlib.sha256()
        async with world.session.get(found["url"], headers={"Authorization": f"Bearer {world.key}"}) as download:
            assert download.headers["Content-Length"] == str(SIZE)
            async for chunk in download.content.iter_chunked(65_536):
                digest.update(chunk)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most - before < MOST_MEMORY
    assert found["file_size"] == SIZE
    assert digest.hexdigest() == found["sha256"] == sha256(film)


async def test_a_media_url_leads_to_the_gateway_and_takes_the_clients_key(world: World) -> None:
    found = (await world.call("GET", f"/v23.0/{await upload(world, b'a picture')}")).json
    assert found["url"].startswith(f"{world.url}/whatsapp_business/attachments/?mid={found['id']}&")
    path = found["url"].removeprefix(world.url)
    whole = await world.call("GET", path)
    assert (whole.status, whole.body) == (200, b"a picture")
    assert whole.headers["Content-Type"] == "image/png"
    head = await world.call("HEAD", path)
    assert (head.status, head.body, head.headers["Content-Length"]) == (200, b"", "9")
    part = await world.call("GET", path, headers={"Range": "bytes=2-4"})
    assert (part.status, part.body, part.headers["Content-Range"]) == (206, b"pic", "bytes 2-4/9")
    assert (await world.call("GET", path, key="fbx_nobodys")).status == 401


async def test_a_document_among_the_media_is_never_taken_for_an_answer(world: World) -> None:
    """A user's file may be JSON and hold what looks like one of our links."""
    for link in (f"{world.gate.upstream.base_url}/x", f"{world.url}/y"):
        document = json.dumps({"url": link, "paging": {"next": link}}, indent=4).encode()
        found = (await world.call("GET", f"/v23.0/{await upload(world, document, 'application/json')}")).json
        assert (await world.call("GET", found["url"].removeprefix(world.url))).body == document


async def test_a_media_id_is_looked_for_with_the_token_of_the_number_named_beside_it(
    world: World, upstream: BareUpstream
) -> None:
    """A media id says nothing about its number, and a key may be for several numbers with a token each."""
    await world.add_number("5550001", upstream_token="token-of-another-number", waba_id=f"{WABA}1")
    key = await world.make_key(NUMBER, "5550001")
    await world.call("GET", "/v23.0/1037?phone_number_id=5550001", key=key)
    assert upstream.asked[0].headers["Authorization"] == "Bearer token-of-another-number"
    refused = await world.call("GET", "/v23.0/1037?phone_number_id=5550001")
    assert refused.status == 403
    assert refused.json["error"]["code"] == 10


async def test_a_360dialog_client_uploads_and_downloads_with_its_own_header(world: World) -> None:
    fields = aiohttp.FormData({"messaging_product": "whatsapp"})
    fields.add_field("file", b"a picture", filename="a", content_type="image/png")
    headers = {"D360-API-KEY": world.key}
    async with world.session.post(f"{world.url}/media", data=fields, headers=headers) as answer:
        media_id = (await answer.json())["id"]
    async with world.session.get(f"{world.url}/{media_id}", headers=headers) as answer:
        url = (await answer.json())["url"]
    assert url.startswith(world.url)
    async with world.session.get(url, headers=headers) as answer:
        assert await answer.read() == b"a picture"
    async with world.session.delete(f"{world.url}/{media_id}", headers=headers) as answer:
        assert await answer.json() == {"success": True}
