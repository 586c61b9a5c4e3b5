"""Billing details and Tax IDs."""

from typing import Any

import pytest
from admin_client import Api
from aiohttp import web
from aiohttp.test_utils import TestServer

from farebox.core.tax_id import NEEDED, TaxIdError, read_tax_id

ACCOUNT = "/v1/accounts/acme"
FULL = {
    "name": "Acme",
    "currency": "EUR",
    "country": "DE",
    "tax_id": "DE136695976",
    "legal_name": "Acme GmbH & Co. KG",
    "address": ["Hauptstraße 1", "10115 Berlin"],
    "billing_email": "billing@acme.example",
}
GOOD = [
    ("DE", "de 136,695 976", "DE136695976"),
    ("DE", "136695976", "DE136695976"),
    ("GR", "094259216", "EL094259216"),
    ("BR", "16.727.230/0001-97", "16727230000197"),
    ("IN", "27AAPFU0939F1ZV", "27AAPFU0939F1ZV"),
    ("US", "91-1144442", "911144442"),
    ("KW", " any  thing ", "any thing"),
]
BAD = [("DE", "DE136695975"), ("DE", "FR40303265045"), ("GR", "GR094259216"), ("BR", "16.727.230/0001-98"), ("US", "1")]


@pytest.mark.parametrize(("country", "text", "kept"), GOOD)
def test_tax_ids_are_kept_in_one_way(country: str, text: str, kept: str) -> None:
    assert read_tax_id(country, text) == kept
    assert read_tax_id(country, kept) == kept


@pytest.mark.parametrize(("country", "text"), BAD)
def test_tax_ids_that_can_not_be_right(country: str, text: str) -> None:
    with pytest.raises(TaxIdError, match=f"is not a valid Tax ID of {country} .the number"):
        read_tax_id(country, text)


def test_every_country_that_needs_one_has_check_digits() -> None:
    for country in NEEDED:
        with pytest.raises(TaxIdError):
            read_tax_id(country, "not a number at all")


async def test_billing_details_are_kept_and_checked(api: Api) -> None:
    made = await api.ok("PUT", ACCOUNT, FULL, status=201)
    assert {name: made[name] for name in FULL} == FULL
    assert made["tax_id_checked_at"] is None
    changed = await api.ok("PATCH", ACCOUNT, {"legal_name": None, "address": None})
    assert (changed["legal_name"], changed["address"], changed["tax_id"]) == (None, None, "DE136695976")
    for body, said in (
        (
            {"tax_id": "DE136695975"},
            "tax_id: is not a valid Tax ID of DE (the number's checksum or check digit is invalid); ",
        ),
        ({"country": "AT"}, "tax_id: is not a valid Tax ID of AT (the number"),
        ({"billing_email": "nobody"}, 'billing_email: must be an address like "billing@example.com".'),
        ({"address": []}, "address: must not be empty."),
        ({"address": ["a\nb"]}, "address.0: must not contain control characters."),
    ):
        assert (await api.refused("PATCH", ACCOUNT, body)).startswith(said), body
    assert await api.ok("GET", ACCOUNT) == changed


@pytest.mark.parametrize(
    ("said", "status", "checked"),
    [("VALID", 200, True), ("INVALID", 422, None), ("MS_UNAVAILABLE", 200, False), (None, 200, False)],
)
async def test_vies_is_asked_where_the_settings_say_so(
    api: Api, said: str | None, status: int, checked: bool | None
) -> None:
    asked = []

    async def vies(request: web.Request) -> web.Response:
        asked.append(request.path)
        return web.Response(status=500) if said is None else web.json_response({"userError": said})

    application = web.Application()
    application.router.add_get("/ms/{member}/vat/{number}", vies)
    async with TestServer(application) as server:
        changed: dict[str, Any] = {"vies_url": str(server.make_url("/"))}
        object.__setattr__(api.gate, "settings", api.gate.settings.model_copy(update=changed))
        answer = await api.ask("PUT", ACCOUNT, {"name": "A", "currency": "EUR"})
        answer = await api.ask("PATCH", ACCOUNT, {"country": "DE", "tax_id": "136695976"})
        assert (answer.status, asked) == (status, ["/ms/DE/vat/136695976"])
        if checked is None:
            assert answer.json["detail"].startswith("tax_id: DE136695976 is not registered, says the EU's VIES;")
        else:
            assert (answer.json["tax_id_checked_at"] is not None) is checked
        await api.ok("PATCH", ACCOUNT, {"name": "B"})
        assert len(asked) == 1  # only where it changed
