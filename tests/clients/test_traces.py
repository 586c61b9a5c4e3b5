"""Trace Context goes through."""

from bare_upstream import BareUpstream

from harness import NUMBER, World, text

TRACE = {"traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", "tracestate": "a=b"}


async def test_a_trace_goes_on_to_whatsapp(world: World, upstream: BareUpstream) -> None:
    await world.fund("1.00")
    await world.send(text(), headers=TRACE)
    await world.call("GET", f"/v23.0/{NUMBER}", headers=TRACE)
    for asked in upstream.asked[-2:]:
        assert {name: asked.headers[name] for name in TRACE} == TRACE
