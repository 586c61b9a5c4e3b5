"""The routes of what is watched: auto-renewal, levels, channels, alerts."""

from farebox.admin import alerts, renewals
from farebox.admin.models import Nothing
from farebox.admin.routing import ACCOUNT, NUMBER, Route, get, write

ALERT_ROUTES: tuple[Route, ...] = (
    get(
        f"{NUMBER}/auto-renewal",
        "Show a number's auto-renewal",
        renewals.show,
        query=Nothing,
        answers={200: renewals.Renewal},
        problems=(404,),
    ),
    write(
        "PUT",
        f"{NUMBER}/auto-renewal",
        "Set a number's auto-renewal, or switch it off",
        renewals.put,
        body=renewals.RenewalPut,
        answers={200: renewals.Renewal},
        problems=(404, 409),
    ),
    get(
        f"{NUMBER}/alert-levels",
        "Show the levels of a number's balance that raise alerts",
        alerts.levels,
        query=Nothing,
        answers={200: alerts.Levels},
        problems=(404,),
    ),
    write(
        "PUT",
        f"{NUMBER}/alert-levels",
        "Replace the levels of a number's balance that raise alerts",
        alerts.put_levels,
        body=alerts.LevelsPut,
        answers={200: alerts.Levels},
        problems=(404,),
    ),
    get(
        f"{ACCOUNT}/channels",
        "List where an account's alerts go",
        alerts.channels,
        query=Nothing,
        answers={200: alerts.Channels},
        problems=(404,),
    ),
    write(
        "POST",
        f"{ACCOUNT}/channels",
        "Add a webhook, or an address of mail or chat; a webhook's secret is shown this once",
        alerts.add_channel,
        body=alerts.ChannelPost,
        answers={201: alerts.NewChannel},
        problems=(404,),
    ),
    write(
        "DELETE",
        f"{ACCOUNT}/channels/{{channel_id}}",
        "Remove a channel",
        alerts.drop_channel,
        body=Nothing,
        answers={204: None},
        problems=(404,),
    ),
    get(
        "/v1/alerts",
        "List alerts, and what became of telling them",
        alerts.index,
        query=alerts.AlertsQuery,
        answers={200: alerts.Alerts},
    ),
    write(
        "POST",
        "/v1/alerts/{alert_id}/tell",
        "Tell an alert again where no try had reached a channel",
        alerts.tell_again,
        body=Nothing,
        answers={200: alerts.ToldAgain},
        problems=(404,),
    ),
)
