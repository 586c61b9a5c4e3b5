"""Alerts: where an account is told, what it was told, and what reached nobody."""

from aiohttp import web

from farebox.admin import alerts
from farebox.admin.problems import ProblemError
from farebox.web.visit import Visit, go, label

PAGE = 50
KINDS = {"webhook": "Webhook", "apprise": "Mail or chat"}
STATES = {"waiting": ("warn", "on its way"), "sent": ("good", "told"), "dead": ("bad", "not reached")}


async def show(visit: Visit, *, error: str | None = None, made: alerts.NewChannel | None = None) -> web.Response:
    """Show channels and alerts; `made`: a channel whose secret is shown this once."""
    numbers = {number.phone_number_id: number for number in await visit.numbers()}
    if visit.account is None:
        return visit.page("alerts.html", account=None, error=None)
    channels = await alerts.channels(visit.ask(path={"account_id": visit.account.account_id}))
    assert isinstance(channels.content, alerts.Channels), "channels are answered with themselves"
    asked = {"before": visit.query.get("before"), "number": visit.query.get("number"), "limit": PAGE}
    query = visit.filled(alerts.AlertsQuery, {name: value for name, value in asked.items() if value})
    told = await alerts.index(visit.ask(query=query))
    assert isinstance(told.content, alerts.Alerts), "alerts are answered with themselves"
    return visit.page(
        "alerts.html",
        status=422 if error else 200,
        error=error,
        account=visit.account,
        made=made,
        channels=channels.content.channels,
        kinds=KINDS,
        states=STATES,
        told=[alert for alert in told.content.alerts if alert.phone_number_id in numbers],
        next=told.content.next,
        numbers=numbers,
        label=label,
        zones={id_: await visit.zone(id_) for id_ in numbers},
    )


async def add(visit: Visit) -> web.Response:
    """Add a channel. A webhook's secret is on the answer, which is the only place where it is ever shown."""
    fields = {name: visit.form.get(name, "").strip() for name in ("kind", "target", "name")}
    try:
        body = visit.filled(alerts.ChannelPost, fields)
        answer = await alerts.add_channel(visit.ask(path=_account(visit), body=body))
    except ProblemError as error:
        return await show(visit, error=error.detail)
    assert isinstance(answer.content, alerts.NewChannel), "a new channel is answered with itself"
    return await show(visit, made=answer.content) if answer.content.secret else go("/alerts?said=saved")


async def drop(visit: Visit) -> web.Response:
    """Remove a channel."""
    path = {**_account(visit), "channel_id": visit.request.match_info["channel_id"]}
    await alerts.drop_channel(visit.ask(path=path))
    return go("/alerts?said=removed")


async def tell_again(visit: Visit) -> web.Response:
    """Try what was given up anew."""
    await alerts.tell_again(visit.ask(path={"alert_id": visit.request.match_info["alert_id"]}))
    return go("/alerts?said=again")


def _account(visit: Visit) -> dict[str, str]:
    if visit.account is None:
        raise ProblemError(404, visit.tongue.say("There is no account yet"))
    return {"account_id": visit.account.account_id}
