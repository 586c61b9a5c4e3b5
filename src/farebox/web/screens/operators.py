"""What operators look at: drift, quarantine, audit. The API's own lists, a page at a time."""

from typing import Any
from zoneinfo import ZoneInfo

from aiohttp import web
from pydantic import BaseModel

from farebox.admin import audit, drifts, quarantine
from farebox.web.visit import Visit, go

UTC = ZoneInfo("UTC")
PAGE = 50


async def drift(visit: Visit) -> web.Response:
    """Show where WhatsApp saw deliveries otherwise than we did."""
    found = await _list(visit, drifts.index, drifts.DriftsQuery, ("before", "number"))
    numbers = visit.gate.directory.numbers
    zones = {
        row.phone_number_id: numbers[row.phone_number_id].zone for row in found.drifts if row.phone_number_id in numbers
    }
    return visit.page("drift.html", found=found, zones=zones, utc=UTC)


async def held(visit: Visit) -> web.Response:
    """Show what webhooks said and the books could not take."""
    fields = ("before", "resolved")
    return visit.page(
        "quarantine.html", found=await _list(visit, quarantine.index, quarantine.QuarantineQuery, fields), utc=UTC
    )


async def replay(visit: Visit) -> web.Response:
    """Tell a piece in quarantine again."""
    path = {"quarantine_id": visit.request.match_info["quarantine_id"]}
    answer = await quarantine.replay(visit.ask(path=path))
    told = answer.content
    assert isinstance(told, quarantine.Told), "a replay says what came of it"
    return go(f"/quarantine?said={'told' if told.resolved else 'stays'}")


async def deeds(visit: Visit) -> web.Response:
    """Show who changed what."""
    fields = ("before", "kind", "who")
    return visit.page("audit.html", found=await _list(visit, audit.index, audit.AuditQuery, fields), utc=UTC)


async def _list(visit: Visit, index: Any, model: type[BaseModel], fields: tuple[str, ...]) -> Any:
    asked = {name: visit.query[name] for name in fields if visit.query.get(name)}
    answer = await index(visit.ask(query=visit.filled(model, asked | {"limit": PAGE})))
    return answer.content
