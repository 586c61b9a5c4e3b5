"""OpenTelemetry traces of sends and webhooks, with `pip install farebox[otel]`; without it nothing here does anything.

On where OpenTelemetry's own OTEL_EXPORTER_OTLP_ENDPOINT names a collector; its other variables (OTEL_SERVICE_NAME,
samplers, headers) hold as everywhere. A span continues the trace that a `traceparent` names and goes on to WhatsApp.
No attribute has a token, a message's text or a user's number.
"""

import functools
import logging
import os
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any, ParamSpec, TypeVar

try:
    from opentelemetry import context, propagate, trace
except ImportError:  # the extra is not installed
    trace = None  # type: ignore[assignment]

log = logging.getLogger(__name__)

ENDPOINTS = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
SERVICE = "OTEL_SERVICE_NAME"
P = ParamSpec("P")
T = TypeVar("T")
_tracer: Any = None  # None: traces are off


def start_traces() -> None:
    """Send the spans of this process to the collector that the environment names; without one nothing is traced."""
    if not any(os.environ.get(name) for name in ENDPOINTS):
        return
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter  # noqa: PLC0415
        from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
        from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415
    except ImportError:
        log.warning("%s is set, but nothing is traced: pip install farebox[otel]", ENDPOINTS[0])
        return
    os.environ.setdefault(SERVICE, "farebox")
    provider = TracerProvider()
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))  # in a thread of its own: no send waits for it
    use(provider)


def use(provider: Any) -> None:
    """Trace by a provider from now on; None: not any more."""
    global _tracer  # noqa: PLW0603  one a process, as OpenTelemetry's own
    _tracer = provider.get_tracer("farebox") if provider is not None else None


def tracing() -> bool:
    """Tell whether anything is traced."""
    return _tracer is not None


def follow(headers: Mapping[str, str]) -> None:
    """Take up the trace that a request belongs to."""
    if _tracer is not None:
        context.attach(propagate.extract(headers, context=context.Context()))


def hand_on(headers: MutableMapping[str, str]) -> None:
    """Name the span at hand as the parent of what a request to WhatsApp does; the client's own stays where none is."""
    if _tracer is not None:
        propagate.inject(headers)


def note(**attributes: str | int) -> None:
    """Add attributes to the span at hand."""
    if _tracer is not None:
        trace.get_current_span().set_attributes({f"farebox.{name}": value for name, value in attributes.items()})


def traced(name: str) -> Callable[[Callable[P, Awaitable[T]]], Callable[P, Awaitable[T]]]:
    """Make a span of each call of a function; one that raises says so, without what the error says."""

    def wrap(function: Callable[P, Awaitable[T]]) -> Callable[P, Awaitable[T]]:
        async def spanned(*args: P.args, **kwargs: P.kwargs) -> T:
            with _tracer.start_as_current_span(name, record_exception=False, set_status_on_exception=False) as span:
                try:
                    return await function(*args, **kwargs)
                except Exception as error:
                    span.set_status(trace.StatusCode.ERROR, type(error).__name__)
                    raise

        @functools.wraps(function)
        def run(*args: P.args, **kwargs: P.kwargs) -> Awaitable[T]:
            return (function if _tracer is None else spanned)(*args, **kwargs)  # untraced nothing is laid around it

        return run

    return wrap
