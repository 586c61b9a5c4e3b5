"""Media: uploads to disk, downloads from disk, links that expire.

https://developers.facebook.com/documentation/business-messaging/whatsapp/business-phone-numbers/media
"""

import asyncio
import hashlib
import itertools
import tempfile
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path

from aiohttp import BodyPartReader, web

from .config import Number
from .errors import GraphError, parameter_required, unknown_object
from .graph import answer, base_url, channel
from .state import Clock

# Meta's largest document.
UPLOAD_MAX_BYTES = 100 * 1024 * 1024
# Files kept on disk, oldest deleted first: room for ten of the largest.
STORED_MAX_BYTES = 10 * UPLOAD_MAX_BYTES
STORED_MAX = 1000
CHUNK_BYTES = 256 * 1024
# The largest form field beside the file.
FIELD_MAX_BYTES = 16 * 1024
# "Media URLs expire after 5 minutes" (the page above).
LINK_LIFE_S = 300

# A red dot: what a user's picture shows when a test does not bring one.
PNG = bytes.fromhex(
    "89504e470d0a1a0a0000000d49484452000000010000000108020000009077"
    "53de0000000c4944415408d763f8cfc000000301010018dd8db00000000049454e44ae426082"
)


@dataclass(frozen=True, slots=True)
class StoredMedia:
    """One file."""

    id: str
    path: Path
    mime_type: str
    sha256: str
    size_bytes: int
    phone_number_id: str


class MediaStore:
    """The files, in a temporary folder that ends with the simulator."""

    def __init__(self) -> None:
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._ids = itertools.count(1_037_543_291_543_636)
        self._files: OrderedDict[str, StoredMedia] = OrderedDict()

    def close(self) -> None:
        """Delete everything."""
        self._files.clear()
        if self._folder is not None:
            self._folder.cleanup()
            self._folder = None

    def new_path(self) -> tuple[str, Path]:
        """Return an id and the path for its file."""
        if self._folder is None:
            self._folder = tempfile.TemporaryDirectory(prefix="simulated-whatsapp-")
        media_id = str(next(self._ids))
        return media_id, Path(self._folder.name) / media_id

    def add(self, media: StoredMedia) -> None:
        """Keep a file; delete the oldest past the limits."""
        self._files[media.id] = media
        while len(self._files) > STORED_MAX or sum(m.size_bytes for m in self._files.values()) > STORED_MAX_BYTES:
            self.remove(next(iter(self._files)))

    def add_bytes(self, data: bytes, mime_type: str, number: Number) -> StoredMedia:
        """Keep what a user sends in."""
        media_id, path = self.new_path()
        path.write_bytes(data)
        digest = hashlib.sha256(data).hexdigest()
        media = StoredMedia(media_id, path, mime_type, digest, len(data), number.phone_number_id)
        self.add(media)
        return media

    def find(self, media_id: str) -> StoredMedia | None:
        """Return a file by id."""
        return self._files.get(media_id)

    def remove(self, media_id: str) -> None:
        """Delete a file."""
        self._files.pop(media_id).path.unlink(missing_ok=True)


class MediaApi:
    """The four media endpoints."""

    def __init__(self, store: MediaStore, clock: Clock, numbers: dict[str, Number], public_url: str) -> None:
        self._store = store
        self._clock = clock
        self._numbers = numbers
        self._public_url = public_url

    async def upload(self, request: web.Request) -> web.StreamResponse:
        """`POST /{phone_number_id}/media`; with a 360dialog key `POST /media`."""
        phone_number_id = request.match_info.get("id")
        number = self._numbers.get(phone_number_id) if phone_number_id else channel(request, self._numbers)
        if number is None:
            raise unknown_object(str(phone_number_id), "POST")
        if not request.content_type.startswith("multipart/"):
            raise parameter_required("file")
        media_id, path = self._store.new_path()
        fields: dict[str, str] = dict(request.query)
        digest, size, mime_type = "", 0, ""
        async for part in await request.multipart():
            if not isinstance(part, BodyPartReader):
                continue
            if part.name == "file":
                mime_type = part.headers.get("Content-Type", "")
                digest, size = await _to_disk(part, path)
            elif part.name:
                fields[part.name] = await _field(part)
        if not digest:
            raise parameter_required("file")
        if fields.get("messaging_product", "").lower() != "whatsapp":
            path.unlink()
            raise parameter_required("messaging_product")
        mime_type = fields.get("type") or mime_type or "application/octet-stream"
        self._store.add(StoredMedia(media_id, path, mime_type, digest, size, number.phone_number_id))
        return answer({"id": media_id})

    def describe(self, request: web.Request, media: StoredMedia) -> web.Response:
        """`GET /{media_id}`: a link of five minutes."""
        self._check_owner(request, media)
        return answer(
            {
                "messaging_product": "whatsapp",
                "url": self.link(media, base_url(request, self._public_url)),
                "mime_type": media.mime_type,
                "sha256": media.sha256,
                "file_size": media.size_bytes,
                "id": media.id,
            }
        )

    def delete(self, request: web.Request, media: StoredMedia) -> web.Response:
        """`DELETE /{media_id}`."""
        self._check_owner(request, media)
        self._store.remove(media.id)
        return answer({"success": True})

    def link(self, media: StoredMedia, base: str) -> str:
        """Return the download address of a file."""
        expiry = int(self._clock.now()) + LINK_LIFE_S
        return f"{base}/whatsapp_business/attachments/?mid={media.id}&ext={expiry}&hash={media.sha256[:32]}"

    async def download(self, request: web.Request) -> web.StreamResponse:
        """`GET /whatsapp_business/attachments/?mid=...`, streamed from disk."""
        media = self._store.find(request.query.get("mid", ""))
        expiry = request.query.get("ext", "")
        expired = expiry.isdigit() and int(expiry) < self._clock.now()
        if media is None or expired:
            raise GraphError(100, message="Media not found or link expired", http_status=404)
        disposition = f'inline; filename="{media.id}"'
        return web.FileResponse(
            media.path, headers={"Content-Type": media.mime_type, "Content-Disposition": disposition}
        )

    def _check_owner(self, request: web.Request, media: StoredMedia) -> None:
        asked = request.query.get("phone_number_id")
        if asked and asked != media.phone_number_id:
            raise unknown_object(media.id, request.method)


async def _to_disk(part: BodyPartReader, path: Path) -> tuple[str, int]:
    """Stream a file to disk; memory holds one chunk. Returns its sha256 and size."""
    digest = hashlib.sha256()
    size = 0
    file = await asyncio.to_thread(path.open, "wb")
    try:
        while chunk := await part.read_chunk(CHUNK_BYTES):
            size += len(chunk)
            _check_size(size)
            digest.update(chunk)
            await asyncio.to_thread(file.write, chunk)
    except BaseException:
        await asyncio.to_thread(path.unlink)
        raise
    finally:
        await asyncio.to_thread(file.close)
    return digest.hexdigest(), size


def _check_size(size_bytes: int) -> None:
    if size_bytes > UPLOAD_MAX_BYTES:
        raise GraphError(131053, f"The file is larger than {UPLOAD_MAX_BYTES} bytes")


async def _field(part: BodyPartReader) -> str:
    value = bytearray()
    while chunk := await part.read_chunk():
        value += chunk
        if len(value) > FIELD_MAX_BYTES:
            raise GraphError(100, message=f"(#100) Param {part.name} is too long")
    return value.decode(errors="replace")
