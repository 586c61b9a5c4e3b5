"""The table of routes. From a row come the server's route, the checks of a request and its place in /openapi.json."""

from farebox.admin import (
    accounts,
    clock,
    drifts,
    entries,
    estimates,
    health,
    limits,
    messages,
    numbers,
    quarantine,
    quotes,
    shadows,
    spans,
    templates,
    usage,
)
from farebox.admin.alert_routes import ALERT_ROUTES
from farebox.admin.key_routes import KEY_ROUTES
from farebox.admin.models import Nothing
from farebox.admin.money_routes import MONEY_ROUTES
from farebox.admin.routing import ACCOUNT, NUMBER, TEXT, Route, get, write

ROUTES: tuple[Route, ...] = (
    # Open: whoever reaches the port may ask.
    get("/healthz", "Tell whether the process lives", health.healthz, query=Nothing, answers={200: health.Health}),
    get(
        "/readyz",
        "Tell whether wallet, ledger and directory are ready",
        health.readyz,
        query=Nothing,
        answers={200: health.Readiness, 503: health.Readiness},
    ),
    get("/metrics", "Metrics for Prometheus", health.metrics, query=Nothing, answers={200: None}, media_type=TEXT),
    get("/openapi.json", "This document", health.openapi, query=Nothing, answers={200: None}),
    # Accounts.
    get(ACCOUNT, "Show an account", accounts.show, query=Nothing, answers={200: accounts.Account}, problems=(404,)),
    write(
        "PUT",
        ACCOUNT,
        "Create or replace an account",
        accounts.put,
        body=accounts.AccountPut,
        answers={200: accounts.Account, 201: accounts.Account},
    ),
    write(
        "PATCH",
        ACCOUNT,
        "Change fields of an account",
        accounts.patch,
        body=accounts.AccountPatch,
        answers={200: accounts.Account},
        problems=(404,),
    ),
    # Numbers.
    get("/v1/numbers", "List the numbers", numbers.index, query=numbers.NumbersQuery, answers={200: numbers.Numbers}),
    get(
        NUMBER,
        "Show a number and its balance",
        numbers.show,
        query=Nothing,
        answers={200: numbers.Number},
        problems=(404,),
    ),
    write(
        "PUT",
        NUMBER,
        "Create or replace a number",
        numbers.put,
        body=numbers.NumberPut,
        answers={200: numbers.Number, 201: numbers.Number},
        problems=(409,),
    ),
    write(
        "PATCH",
        NUMBER,
        "Change fields of a number",
        numbers.patch,
        body=numbers.NumberPatch,
        answers={200: numbers.Number},
        problems=(404, 409),
    ),
    get(
        f"{NUMBER}/limits",
        "Show a number's spend limits and what counts against them",
        limits.show,
        query=Nothing,
        answers={200: limits.Limits},
        problems=(404,),
    ),
    write(
        "PUT",
        f"{NUMBER}/limits",
        "Replace a number's spend limits",
        limits.put,
        body=limits.LimitsPut,
        answers={200: limits.Limits},
        problems=(404,),
    ),
    *ALERT_ROUTES,
    # Money.
    *MONEY_ROUTES,
    get(
        f"{NUMBER}/entries",
        "List the movements of a number's balance",
        entries.index,
        query=entries.EntriesQuery,
        answers={200: entries.Entries},
        problems=(404,),
    ),
    get(
        "/v1/messages/{message_id}",
        "Explain a message's fare",
        messages.explain,
        query=Nothing,
        answers={200: messages.Message},
        problems=(404,),
    ),
    get(
        "/v1/usage",
        "Tell messages and charges by month or day",
        usage.index,
        query=usage.UsageQuery,
        answers={200: usage.Usage},
        problems=(404,),
    ),
    get(
        "/v1/estimates",
        "Estimate the running month of a number, and what a plan would cost",
        estimates.index,
        query=estimates.EstimatesQuery,
        answers={200: estimates.Estimates},
        problems=(404,),
    ),
    # Templates.
    get(
        "/v1/templates",
        "List the templates, and which change makes one dearer",
        templates.index,
        query=templates.TemplatesQuery,
        answers={200: templates.Templates},
    ),
    get(
        "/v1/templates/changes",
        "List what changed about templates",
        templates.history,
        query=templates.ChangesQuery,
        answers={200: templates.Changes},
    ),
    get(
        "/v1/drift",
        "List deliveries that WhatsApp priced otherwise than we did",
        drifts.index,
        query=drifts.DriftsQuery,
        answers={200: drifts.Drifts},
    ),
    get(
        "/v1/quarantine",
        "List what webhooks said and the books could not take",
        quarantine.index,
        query=quarantine.QuarantineQuery,
        answers={200: quarantine.Quarantine},
    ),
    write(
        "POST",
        "/v1/quarantine/{quarantine_id}/replay",
        "Tell a piece in quarantine again; repeating is safe",
        quarantine.replay,
        body=Nothing,
        answers={200: quarantine.Told},
        problems=(404,),
    ),
    get(
        f"{NUMBER}/shadow",
        "Report what enforcement would have refused",
        shadows.report,
        query=spans.SpanQuery,
        answers={200: shadows.ShadowReport},
        problems=(404,),
    ),
    write(
        "POST",
        "/v1/quotes",
        "Say what a message would cost; nothing is sent or taken",
        quotes.post,
        body=quotes.QuotePost,
        answers={200: quotes.Quote},
        problems=(404,),
    ),
    *KEY_ROUTES,
)

# Served by a sandbox only: a gateway in production has no way to move its clock.
CLOCK_ROUTES: tuple[Route, ...] = (
    get("/v1/clock", "Show the test clock", clock.show, query=Nothing, answers={200: clock.ClockTime}),
    write(
        "PUT",
        "/v1/clock",
        "Move the test clock; what is then due is done before the answer",
        clock.put,
        body=clock.ClockPut,
        answers={200: clock.ClockTime},
    ),
)
