"""Auto-renewal of a number, on its line in the prepaid settings: read and set by the API's own functions."""

from aiohttp import web

from farebox.admin import renewals
from farebox.admin.problems import ProblemError
from farebox.admin.renewals import Renewal, RenewalPut
from farebox.web.entered import Entered, optional_amount
from farebox.web.screens import settings
from farebox.web.visit import Visit, go


async def change(visit: Visit) -> web.Response:
    """Set the rule, or switch it off; smart asks for a proposal first, and takes effect once it is accepted."""
    number_id = visit.request.match_info["phone_number_id"]
    mode = visit.form.get("mode", "")
    try:
        fields: dict[str, object] = {"mode": mode}
        if mode != "off":
            fields["monthly_cap"] = optional_amount(visit, "monthly_cap")
            fields["method"] = visit.form.get("method") or None
        if mode == "manual":
            fields["threshold"] = optional_amount(visit, "threshold")
            fields["amount"] = optional_amount(visit, "amount")
        if mode == "smart" and visit.form.get("accept"):
            fields["accept"] = visit.form["accept"]
        body = visit.filled(RenewalPut, fields)
        answer = await renewals.put(visit.ask(path={"phone_number_id": number_id}, body=body))
    except (ProblemError, Entered) as error:
        return await settings.show(visit, error=str(error), renewing=number_id)
    assert isinstance(answer.content, Renewal), "a rule is answered with itself"
    said = "saved" if mode != "smart" or answer.content.in_effect else "proposed"
    return go(f"/settings?said={said}&renewal={number_id}#n{number_id}")
