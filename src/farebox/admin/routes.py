"""The table of routes. From a row come the server's route, the checks of a request and its place in /openapi.json."""

from farebox.admin import accounts, clock, entries, health, keys, messages, numbers, templates, topups
from farebox.admin.models import Nothing
from farebox.admin.routing import TEXT, Route, get, write

ACCOUNT = "/v1/accounts/{account_id}"
NUMBER = "/v1/numbers/{phone_number_id}"

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
    # Money.
    get(
        f"{NUMBER}/topups",
        "List the top-ups of a number",
        topups.index,
        query=topups.TopupsQuery,
        answers={200: topups.Topups},
        problems=(404,),
    ),
    write(
        "POST",
        f"{NUMBER}/topups",
        "Top up a number; a repeated reference is the same top-up",
        topups.post,
        body=topups.TopupPost,
        answers={200: topups.CreditedTopup, 201: topups.CreditedTopup},
        problems=(404, 409),
    ),
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
    # Keys.
    get("/v1/keys", "List the applications' keys", keys.index, query=keys.KeysQuery, answers={200: keys.Keys}),
    write(
        "POST",
        "/v1/keys",
        "Make a key; it is shown this once",
        keys.post,
        body=keys.KeyPost,
        answers={201: keys.NewKey},
    ),
    write(
        "DELETE",
        "/v1/keys/{key_id}",
        "Revoke a key",
        keys.revoke,
        body=Nothing,
        answers={204: None},
        problems=(404,),
    ),
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
