"""The receipt of a top-up: who paid whom how much, for which number, as JSON and as a page to print."""

from datetime import datetime

import asyncpg
from jinja2 import Environment
from pydantic import Field

from farebox.admin.fields import Amount, NumberId
from farebox.admin.models import Given
from farebox.admin.problems import ProblemError
from farebox.admin.routing import Answer, Get
from farebox.admin.topup_steps import find_topup
from farebox.core.money import format_micros
from farebox.core.topup import CREDITED, Topup
from farebox.directory import Number

HTML = "text/html"


class Payer(Given):
    """Whom a receipt is made out to, as the account's billing details say today."""

    account_id: str
    name: str = Field(description="The legal name, or the account's name where there is none.")
    address: list[str]
    country: str | None
    tax_id: str | None
    email: str | None


class Receipt(Given):
    """A receipt. amount + fee = charge; tax is inside the fee."""

    receipt: str = Field(description="The top-up's id.")
    issuer: list[str] = Field(description="Lines of whoever sells, as FAREBOX_RECEIPT_ISSUER says.")
    payer: Payer
    phone_number_id: NumberId
    display_phone_number: str
    paid_at: datetime
    method: str
    payment: str | None = Field(description="The payment's name at its provider.")
    reference: str
    state: str
    amount: Amount
    fee: Amount
    tax: Amount
    charge: Amount
    refunded: Amount
    currency: str


async def show(ask: Get) -> Answer:
    """Return a receipt."""
    return Answer(await _receipt(ask))


async def page(ask: Get) -> Answer:
    """Return a receipt to print."""
    return Answer(_PAGE.render(r=await _receipt(ask), money=format_micros).encode())


async def _receipt(ask: Get) -> Receipt:
    number, topup = await find_topup(ask)
    if topup.state not in CREDITED or topup.credited_at is None:
        raise ProblemError(409, f"The top-up is {topup.state}; there is a receipt once it has succeeded.")
    account = await ask.gate.ledger.fetch_one("account", number.account_id)
    assert account is not None, "a number has an account"
    return _made(number, topup, topup.credited_at, account, ask.gate.settings.receipt_issuer.split("|"))


def _made(number: Number, topup: Topup, paid_at: datetime, account: asyncpg.Record, issuer: list[str]) -> Receipt:
    return Receipt(
        receipt=str(topup.topup_id),
        issuer=[line.strip() for line in issuer if line.strip()],
        payer=Payer(
            account_id=number.account_id,
            name=account["legal_name"] or account["name"],
            address=account["address"] or [],
            country=account["country"],
            tax_id=account["tax_id"],
            email=account["billing_email"],
        ),
        phone_number_id=number.number_id,
        display_phone_number=number.display_phone_number,
        paid_at=paid_at,
        method=topup.method,
        payment=topup.provider_id,
        reference=topup.reference,
        state=topup.state.value,
        amount=topup.amount_micros,
        fee=topup.fee_micros,
        tax=topup.tax_micros,
        charge=topup.total_micros,
        refunded=topup.refunded_micros,
        currency=number.currency,
    )


_PAGE = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True).from_string("""\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>Receipt {{ r.receipt }}</title>
<style>
body { font: 11pt/1.5 system-ui, sans-serif; max-width: 42em; margin: 3em auto; padding: 0 1em }
table { border-collapse: collapse; width: 100%; margin: 2em 0 }
td, th { text-align: left; padding: .3em 0; border-bottom: 1px solid #ccc; font-weight: normal }
td.money { text-align: right; font-variant-numeric: tabular-nums }
tr.sum td, tr.sum th { font-weight: bold }
</style>
</head>
<body>
{% for line in r.issuer %}{{ line }}<br>{% endfor %}
<h1>Receipt</h1>
<p>{{ r.receipt }}<br>{{ r.paid_at.strftime("%Y-%m-%d %H:%M") }} UTC</p>
<p>{{ r.payer.name }}<br>
{% for line in r.payer.address %}{{ line }}<br>{% endfor %}
{% if r.payer.country %}{{ r.payer.country }}<br>{% endif %}
{% if r.payer.tax_id %}Tax ID {{ r.payer.tax_id }}{% endif %}</p>
<table>
<tr><th>Funds for {{ r.display_phone_number or r.phone_number_id }}</th>
<td class="money">{{ money(r.amount) }} {{ r.currency }}</td></tr>
<tr><th>Transaction fee{% if r.tax %}, of which tax {{ money(r.tax) }} {{ r.currency }}{% endif %}</th>
<td class="money">{{ money(r.fee) }} {{ r.currency }}</td></tr>
<tr class="sum"><th>Paid</th><td class="money">{{ money(r.charge) }} {{ r.currency }}</td></tr>
{% if r.refunded %}
<tr><th>Given back since</th><td class="money">{{ money(r.refunded) }} {{ r.currency }}</td></tr>
{% endif %}
</table>
<p>Paid by {{ r.method }}{% if r.payment %}, {{ r.payment }}{% endif %}.
Reference {{ r.reference }}.{% if r.state == "disputed" %} The payment is disputed.{% endif %}</p>
</body>
</html>
""")
