"""Trace Context goes through; with OpenTelemetry, sends and webhooks are part of the trace."""

from collections.abc import Iterator

import pytest
from bare_upstream import BareUpstream
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from farebox import traces
from harness import NUMBER, USER, World, template, text

TRACE = {"traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", "tracestate": "a=b"}


async def test_a_trace_goes_on_to_whatsapp(world: World, upstream: BareUpstream) -> None:
    await world.fund("1.00")
    await world.send(text(), headers=TRACE)
    await world.call("GET", f"/v23.0/{NUMBER}", headers=TRACE)
    for asked in upstream.asked[-2:]:
        assert {name: asked.headers[name] for name in TRACE} == TRACE


@pytest.fixture
def spans() -> Iterator[InMemorySpanExporter]:
    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    traces.use(provider)
    yield exporter
    traces.use(None)


def by_name(spans: InMemorySpanExporter) -> dict[str, ReadableSpan]:
    return {span.name: span for span in spans.get_finished_spans()}


async def test_a_send_is_a_trace_of_its_steps(
    world: World, upstream: BareUpstream, spans: InMemorySpanExporter
) -> None:
    await world.fund("1.00")
    answer = await world.send(template(), headers=TRACE)
    seen = by_name(spans)
    assert list(seen) == ["decide", "reserve", "upstream", "send"], "in the order that they end"
    send = seen["send"]
    assert send.parent is not None
    assert f"{send.context.trace_id:032x}" == TRACE["traceparent"].split("-")[1]
    assert f"{send.parent.span_id:016x}" == TRACE["traceparent"].split("-")[2]
    assert all(seen[name].parent == send.context for name in ("decide", "reserve", "upstream"))
    told = upstream.asked[-1].headers["traceparent"]
    assert told.split("-")[1:3] == [f"{send.context.trace_id:032x}", f"{seen['upstream'].context.span_id:016x}"]
    assert send.attributes == {
        "farebox.hold": answer.headers["X-Farebox-Hold"],
        "farebox.outcome": "accepted",
        "farebox.fare_micros": 3_400,
        "farebox.message_class": "paid",
    }
    assert USER not in "".join(span.to_json() for span in seen.values())


async def test_a_trace_without_a_parent_and_one_of_a_webhook(world: World, spans: InMemorySpanExporter) -> None:
    assert (await world.send(template())).status == 402
    assert list(by_name(spans)) == ["decide", "reserve", "send"]
    assert by_name(spans)["send"].parent is None, "not of the trace of the request before on the same connection"
    await world.whatsapp.write_in(USER, "hello")
    await world.books_kept()
    assert "webhook" in by_name(spans)
