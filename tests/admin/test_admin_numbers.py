"""Accounts and numbers: what is stored, shown, changed and refused."""

import asyncio
import json

from admin_client import NUMBER_SECRET, UPSTREAM_TOKEN, Api

WEBHOOK_SECRET = "a-webhook-secret.of_its~own"
ACCOUNT = "/v1/accounts/acme"
NUMBER = "/v1/numbers/106540352242922"
FULL = {
    "account_id": "acme",
    "display_phone_number": "+1 631-555-0001",
    "waba_id": "102290129340398",
    "timezone": "America/Bogota",
    "currency": "COP",
    "dialect": "360dialog",
    "regime": "pmp-2026-10",
    "upstream_token": UPSTREAM_TOKEN,
    "app_secret": NUMBER_SECRET,
    "webhook_secret": WEBHOOK_SECRET,
    "app_url": "https://app.example.com/hook?x=1",
    "mode": "off",
    "funds_rule": "cover",
    "block_at": "1.5",
    "low_balance_at": "100",
}


async def test_an_account_is_created_replaced_changed(api: Api) -> None:
    assert "PUT /v1/accounts/acme" in await api.refused("GET", ACCOUNT, status=404)
    assert "PUT /v1/accounts/acme" in await api.refused("PATCH", ACCOUNT, {"name": "A"}, status=404)
    full = {"name": "Ácme ﷽", "currency": "EUR", "country": "DE", "tax_id": "DE136695976"}
    made = await api.ok("PUT", ACCOUNT, full, status=201)
    assert made.pop("created_at").endswith("Z")
    terms = {"markup_percent": "0", "markup_fixed": "0.00", "tax_percent": "0"}
    billing = dict.fromkeys(("legal_name", "address", "billing_email", "tax_id_checked_at"))
    assert made == {"account_id": "acme", **full, **terms, **billing}
    changed = await api.ok("PATCH", ACCOUNT, {"tax_id": None, "name": "Acme"})
    assert {name: changed[name] for name in full} == full | {"tax_id": None, "name": "Acme"}
    assert await api.ok("PATCH", ACCOUNT, {}) == changed
    replaced = await api.ok("PUT", ACCOUNT, {"name": "B", "currency": "USD"})
    assert (replaced["country"], replaced["created_at"]) == (None, changed["created_at"])
    assert await api.ok("GET", ACCOUNT) == replaced


BAD_ACCOUNTS = [
    ({}, "name: is missing (1 more mistake after this one)."),
    ({"name": "", "currency": "USD"}, "name: must not be empty."),
    ({"name": "a" * 201, "currency": "USD"}, "name: must have at most 200 characters."),
    ({"name": "a\0b", "currency": "USD"}, "name: must not contain control characters."),
    ({"name": "a\nb", "currency": "USD"}, "name: must not contain control characters."),
    ({"name": 5, "currency": "USD"}, "name: must be a string."),
    ({"name": None, "currency": "USD"}, "name: must be a string."),
    ({"name": "a", "currency": "usd"}, 'currency: must be a three-letter currency code like "USD".'),
    ({"name": "a", "currency": "ÄÖÜ"}, 'currency: must be a three-letter currency code like "USD".'),
    ({"name": "a", "currency": "USD\n"}, 'currency: must be a three-letter currency code like "USD".'),
    (
        {"name": "a", "currency": "USD", "country": "DEU"},
        'country: must be a two-letter country code like "DE".',
    ),
    ({"name": "a", "currency": "USD", "tax_id": "x" * 65}, "tax_id: must have at most 64 characters."),
    ({"name": "a", "currency": "USD", "taxid": "x"}, "taxid: there is no such field; perhaps you mean tax_id."),
]


async def test_accounts_that_are_refused(api: Api) -> None:
    for body, said in BAD_ACCOUNTS:
        assert (await api.ask("PUT", ACCOUNT, body)).json["detail"] == said
        assert (await api.ask("GET", ACCOUNT)).status == 404


BAD_ACCOUNT_IDS = ["a" * 65, "%00", "a%20b", "a%2Fb", "-a", "%C3%A4", "a%0A"]


async def test_ids_of_accounts_that_are_refused(api: Api) -> None:
    for account_id in BAD_ACCOUNT_IDS:
        for method in ("GET", "PUT"):
            body = {"name": "a", "currency": "USD"} if method == "PUT" else None
            answered = await api.ask(method, f"/v1/accounts/{account_id}", body)
            assert answered.status == 422
            assert answered.detail.startswith("account_id: must be 1 to 64")


async def test_a_number_is_created_with_its_defaults_and_its_balance(api: Api) -> None:
    assert "PUT" in await api.refused("GET", NUMBER, status=404)
    assert "PUT /v1/accounts/acme" in await api.refused("PUT", NUMBER, {"account_id": "acme"})
    made = await api.add_number("106540352242922")
    made.pop("created_at")
    assert made == {
        "phone_number_id": "106540352242922",
        "account_id": "acme",
        "display_phone_number": "",
        "waba_id": "",
        "timezone": "UTC",
        "currency": "USD",
        "dialect": "cloud",
        "regime": "auto",
        "upstream_token_set": False,
        "app_secret_set": False,
        "webhook_secret_set": False,
        "app_url": None,
        "mode": "enforce",
        "funds_rule": "above_zero",
        "block_at": "0.00",
        "auth_international": None,
        "low_balance_at": None,
        "throughput": None,
        "balance": {"available": "0.00", "held": "0.00", "pending": "0.00", "currency": "USD"},
        "low_balance": False,
        "closed_at": None,
    }
    assert "106540352242922" in api.gate.directory.numbers


async def test_a_number_is_replaced_and_changed_and_never_shows_its_secrets(api: Api) -> None:
    await api.add_number("106540352242922")
    shown = await api.ok("PUT", NUMBER, FULL)
    secrets = ("upstream_token", "app_secret", "webhook_secret")
    plain = {name: value for name, value in FULL.items() if name not in secrets}
    assert {name: shown[name] for name in plain} == plain | {"block_at": "1.50", "low_balance_at": "100.00"}
    assert shown["upstream_token_set"]
    assert shown["app_secret_set"]
    assert shown["webhook_secret_set"]
    assert WEBHOOK_SECRET not in json.dumps([shown, await api.ok("GET", "/v1/numbers")])
    assert shown["low_balance"]
    assert not set(secrets) & set(shown)
    known = api.gate.directory.numbers["106540352242922"]
    assert (known.upstream_token, known.app_secret) == (UPSTREAM_TOKEN, NUMBER_SECRET)
    assert known.webhook_secret == WEBHOOK_SECRET

    changed = await api.ok("PATCH", NUMBER, {"mode": "enforce", "app_secret": None, "low_balance_at": None})
    assert changed == shown | {
        "mode": "enforce",
        "app_secret_set": False,
        "low_balance_at": None,
        "low_balance": False,
        "closed_at": None,
    }
    known = api.gate.directory.numbers["106540352242922"]
    assert (known.upstream_token, known.app_secret, known.mode) == (UPSTREAM_TOKEN, None, "enforce")

    replaced = await api.ok("PUT", NUMBER, {"account_id": "acme"})
    assert (replaced["upstream_token_set"], replaced["mode"], replaced["currency"]) == (False, "enforce", "USD")
    assert (await api.ok("GET", NUMBER)) == replaced


async def test_changes_of_different_fields_at_once_do_not_undo_each_other(api: Api) -> None:
    await api.add_number("106540352242922")
    changes = [
        {"app_url": "http://a.example"},
        {"block_at": "2.00"},
        {"waba_id": "7"},
        {"timezone": "Europe/Berlin"},
        {"upstream_token": UPSTREAM_TOKEN},
    ]
    await asyncio.gather(*(api.ok("PATCH", NUMBER, change) for change in changes))
    shown = await api.ok("GET", NUMBER)
    assert (shown["app_url"], shown["block_at"], shown["waba_id"]) == ("http://a.example", "2.00", "7")
    assert (shown["timezone"], shown["upstream_token_set"]) == ("Europe/Berlin", True)


BAD_FIELDS = [
    ("account_id", "nobody", "account_id: there is no account nobody; create it with PUT /v1/accounts/nobody."),
    ("account_id", None, "account_id: must be a string."),
    ("mode", "on", "mode: must be 'enforce', 'shadow' or 'off'."),
    ("mode", None, "mode: must be 'enforce', 'shadow' or 'off'."),
    ("dialect", "cloudy", "dialect: must be 'cloud', '360dialog' or 'on_premise'."),
    ("funds_rule", "below", "funds_rule: must be 'above_zero' or 'cover'."),
    (
        "regime",
        "cbp",
        'regime: there is no tariff "cbp"; use "auto" or the name of a tariff in the tariffs folder.',
    ),
    ("timezone", "Europe/Nowhere", 'timezone: must be a time zone of the IANA database like "Europe/Berlin".'),
    ("timezone", "Europe", 'timezone: must be a time zone of the IANA database like "Europe/Berlin".'),
    ("timezone", "../etc/passwd", 'timezone: must be a time zone like "Europe/Berlin".'),
    ("timezone", "/etc/localtime", 'timezone: must be a time zone of the IANA database like "Europe/Berlin".'),
    ("timezone", "", 'timezone: must be a time zone like "Europe/Berlin".'),
    ("app_url", "ftp://a.example", 'app_url: must be an http or https address like "https://'),
    ("app_url", "app.example.com", 'app_url: must be an http or https address like "https://'),
    ("app_url", "http://", 'app_url: must be an http or https address like "https://'),
    ("app_url", "http://[1", 'app_url: must be an http or https address like "https://'),
    ("app_url", "http://a.example:99999", 'app_url: must be an http or https address like "https://'),
    ("app_url", "http://a b", "app_url: must be a URL, percent-encoded."),
    ("app_url", "https://u:p@a.example", "app_url: must not carry a user or password: this address is shown"),
    ("app_url", "http://a/" + "x" * 2048, "app_url: must have at most 2048 characters."),
    ("upstream_token", "a b", "upstream_token: must be 1 to 4096 visible ASCII characters without spaces."),
    ("upstream_token", "a\r\nX-Evil: 1", "upstream_token: must be 1 to 4096 visible ASCII characters"),
    ("app_secret", "", "app_secret: must be 1 to 4096 visible ASCII characters without spaces."),
    ("app_secret", "x" * 4097, "app_secret: must be 1 to 4096 visible ASCII characters without spaces."),
    ("webhook_secret", "15-characters-x", "webhook_secret: must be 16 to 256 letters, digits or . _ ~ -, so that it"),
    ("webhook_secret", "with/a/slash/and?more", "webhook_secret: must be 16 to 256 letters, digits or . _ ~ -"),
    ("webhook_secret", "x" * 257, "webhook_secret: must be 16 to 256 letters, digits or . _ ~ -"),
    ("webhook_secret", "", "webhook_secret: must be 16 to 256 letters, digits or . _ ~ -"),
    ("waba_id", "+49", "waba_id: must be the WhatsApp Business Account's id, up to 64 digits."),
    ("display_phone_number", "1" * 65, "display_phone_number: must have at most 64 characters."),
    ("block_at", 1, 'block_at: must be a decimal string like "10.00"; a JSON number may lose digits.'),
    ("block_at", 0.5, 'block_at: must be a decimal string like "10.00"; a JSON number may lose digits.'),
    ("block_at", None, 'block_at: must be a decimal string like "10.00"'),
    ("block_at", "-0.01", "block_at: must be 0.00 or more."),
    (
        "block_at",
        "0.0000001",
        'block_at: "0.0000001" is not an amount; write it as a decimal string with at most six',
    ),
    ("block_at", "1e3", 'block_at: "1e3" is not an amount'),
    ("block_at", "1,000", 'block_at: "1,000" is not an amount'),
    ("block_at", "٣", 'block_at: "٣" is not an amount'),
    ("block_at", "9999999999", 'block_at: "9999999999" is larger than the largest amount, 9007199254.740991.'),
    ("block_at", "10000000000000", 'block_at: "10000000000000" is not an amount'),
    ("low_balance_at", "-1", "low_balance_at: must be 0.00 or more."),
    ("balance", {}, "balance: there is no such field; the fields are account_id, display_phone_number, waba_id"),
    (
        "upstream_tokens",
        UPSTREAM_TOKEN,
        "upstream_tokens: there is no such field; perhaps you mean upstream_token.",
    ),
    ("phone_number_id", "1", "phone_number_id: there is no such field; the fields are account_id, "),
]


async def test_fields_that_are_refused(api: Api) -> None:
    before = await api.add_number("106540352242922")
    for field, value, said in BAD_FIELDS:
        for method, rest in (("PATCH", {}), ("PUT", {"account_id": "acme", "currency": "USD"})):
            answered = await api.ask(method, NUMBER, rest | {field: value})
            assert answered.status == 422
            assert answered.json["detail"].startswith(said)
        assert await api.ok("GET", NUMBER) == before


BAD_NUMBER_IDS = ["+4915112345678", "abc", "1" * 65, "1%0A", "%D9%A3"]


async def test_ids_of_numbers_that_are_refused(api: Api) -> None:
    for number_id in BAD_NUMBER_IDS:
        answered = await api.ask("GET", f"/v1/numbers/{number_id}")
        assert answered.status == 422
        assert answered.detail.startswith("phone_number_id: must be the id that Meta shows")


async def test_a_currency_without_rate_card_names_the_file(api: Api) -> None:
    await api.ok("PUT", ACCOUNT, {"name": "A", "currency": "XTS"}, status=201)
    said = await api.refused("PUT", NUMBER, {"account_id": "acme", "regime": "pmp-2026-10"})
    assert said.startswith(
        "currency: the tariff pmp-2026-10 has no rate card in XTS; add rates/pmp_xts_2026-10-01.csv to the tariffs "
        "folder, or use "
    )
    assert "USD" in said
    assert "no rate card in XTS" in await api.refused("PUT", NUMBER, {"account_id": "acme"})
    await api.add_number("1", currency="USD", regime="pmp-2026-10")
    assert "no rate card in XTS" in await api.refused("PATCH", "/v1/numbers/1", {"currency": None})


async def test_the_currency_stays_once_there_is_money(api: Api) -> None:
    await api.add_number("106540352242922")
    assert (await api.ok("PATCH", NUMBER, {"currency": "COP"}))["currency"] == "COP"
    await api.ok("PATCH", NUMBER, {"currency": "USD"})
    await api.ok("POST", f"{NUMBER}/topups", {"amount": "1.00"}, status=201)
    assert "keep the currency" in await api.refused("PATCH", NUMBER, {"currency": "COP"}, status=409)
    assert "keep the currency" in await api.refused(
        "PUT", NUMBER, {"account_id": "acme", "currency": "COP"}, status=409
    )
    assert (await api.ok("PATCH", NUMBER, {"currency": "USD", "waba_id": "1"}))["waba_id"] == "1"
    assert api.gate.directory.numbers["106540352242922"].currency == "USD"


async def test_numbers_are_listed_page_by_page(api: Api) -> None:
    for number_id in ("5", "1", "3"):
        await api.add_number(number_id, upstream_token=UPSTREAM_TOKEN)
    await api.ok("POST", "/v1/numbers/3/topups", {"amount": "2.00"}, status=201)
    first = await api.ok("GET", "/v1/numbers?limit=2")
    assert [number["phone_number_id"] for number in first["numbers"]] == ["1", "3"]
    assert first["numbers"][1] == await api.ok("GET", "/v1/numbers/3")
    assert first["next"] == "3"
    last = await api.ok("GET", f"/v1/numbers?limit=2&after={first['next']}")
    assert ([number["phone_number_id"] for number in last["numbers"]], last["next"]) == (["5"], None)


BAD_QUERIES = [
    ("limit=0", "limit: must be 1 or more."),
    ("limit=201", "limit: must be 200 or less."),
    ("limit=many", "limit: must be a whole number."),
    ("limit=", "limit: must be a whole number."),
    ("after=%00", "after: must not contain control characters."),
    ("page=2", "page: there is no such field; the fields are limit, after."),
]


async def test_queries_that_are_refused(api: Api) -> None:
    for query, said in BAD_QUERIES:
        assert (await api.refused("GET", f"/v1/numbers?{query}")).startswith(said)
