"""Message templates: the ones a send may name, and their lists with Graph's paging.

https://developers.facebook.com/documentation/business-messaging/whatsapp/templates/template-management
"""

import base64
import itertools
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode

from .errors import GraphError, parameter_required

CATEGORIES = ("AUTHENTICATION", "MARKETING", "UTILITY")
# The fields of a list without `fields=`, and the page size without `limit=`, as Graph has them.
DEFAULT_FIELDS = ("name", "parameter_format", "components", "language", "status", "category", "id")
DEFAULT_LIMIT = 25
LIMIT_MAX = 1000
# Meta's own limit for an account.
TEMPLATES_MAX = 6000

_PLACEHOLDER = re.compile(r"\{\{\s*\w+\s*\}\}")


@dataclass(slots=True)
class Template:
    """A template in one language."""

    name: str
    category: str
    language: str = "en_US"
    status: str = "APPROVED"
    components: list[dict[str, Any]] = field(default_factory=list)
    id: str = ""
    parameter_format: str = "POSITIONAL"
    more: dict[str, Any] = field(default_factory=dict)
    """Fields that only some accounts have and that are given only when asked for (`optimization_spec`)."""

    def as_json(self) -> dict[str, Any]:
        """Write it as Graph does."""
        return {
            "name": self.name,
            "parameter_format": self.parameter_format,
            "components": self.components,
            "language": self.language,
            "status": self.status,
            "category": self.category,
            "id": self.id,
            **self.more,
        }

    def check_parameters(self, sent: Any) -> None:
        """Refuse a send that fills fewer or more placeholders of the body than it has.

        A template without placeholders is not checked: the ready-made ones take whatever an example sends along.
        """
        wanted = sum(len(_PLACEHOLDER.findall(part.get("text", ""))) for part in self.components if _is_body(part))
        parts = sent if isinstance(sent, list) else []
        given = sum(len(part.get("parameters") or []) for part in parts if isinstance(part, dict) and _is_body(part))
        if wanted and wanted != given:
            details = f"body: number of localizable_params ({given}) does not match the expected number ({wanted})"
            raise GraphError(132000, details)


def _is_body(component: dict[str, Any]) -> bool:
    return str(component.get("type", "")).upper() == "BODY"


def ready_made() -> list[Template]:
    """Return the templates every account starts with."""
    return [
        Template("order_update", "UTILITY", components=[{"type": "BODY", "text": "Your order is on its way."}]),
        Template("summer_sale", "MARKETING", components=[{"type": "BODY", "text": "Everything must go!"}]),
        Template("login_code", "AUTHENTICATION", components=[{"type": "BODY", "text": "Here is your login code."}]),
    ]


class Templates:
    """The templates of all accounts, by account, name and language."""

    def __init__(self, waba_ids: tuple[str, ...]) -> None:
        self._ids = itertools.count(1_594_425_377_000_001)
        self._by_waba: dict[str, dict[tuple[str, str], Template]] = {}
        self.refused_fields: tuple[str, ...] = ()
        for waba_id in waba_ids:
            self.open_account(waba_id)

    def open_account(self, waba_id: str) -> None:
        """Give an account its ready-made templates."""
        if waba_id not in self._by_waba:
            self._by_waba[waba_id] = {}
            for template in ready_made():
                self.add(waba_id, template)

    def add(self, waba_id: str, template: Template) -> Template:
        """Add a template or replace the one of the same name and language."""
        template.category = template.category.upper()
        if template.category not in CATEGORIES:
            raise GraphError(100, message=f"(#100) Param category must be one of {{{', '.join(CATEGORIES)}}}")
        before = self._by_waba[waba_id].get((template.name, template.language))
        if before is None and len(self._by_waba[waba_id]) >= TEMPLATES_MAX:
            raise GraphError(100, message=f"(#100) An account has at most {TEMPLATES_MAX} templates")
        template.id = template.id or (before.id if before else str(next(self._ids)))
        self._by_waba[waba_id][template.name, template.language] = template
        return template

    def remove(self, waba_id: str, name: str) -> bool:
        """Delete a template in all its languages."""
        held = self._by_waba[waba_id]
        gone = [key for key in held if key[0] == name]
        for key in gone:
            del held[key]
        return bool(gone)

    def all(self, waba_id: str) -> list[Template]:
        """Return the templates of an account, oldest first."""
        return list(self._by_waba[waba_id].values())

    def usable(self, waba_id: str, name: str, language: str) -> Template:
        """Return the template a send names, or say as Meta does why it can not be sent."""
        template = self._by_waba[waba_id].get((name, language))
        if template is not None and template.status == "PAUSED":
            raise GraphError(132015)
        if template is not None and template.status == "DISABLED":
            raise GraphError(132016)
        if template is None or template.status != "APPROVED":
            raise GraphError(132001, f"template name ({name}) does not exist in {language}")
        return template

    def page(self, waba_id: str, query: Mapping[str, str], *, url: str, token: str) -> dict[str, Any]:
        """Return one page of the list. Its links carry the access token in the query, as Graph's do.

        https://developers.facebook.com/docs/graph-api/results ("paging").
        """
        found = [template for template in self.all(waba_id) if _matches(template, query)]
        limit = _limit(query)
        start = _start(query, limit)
        shown = found[start : start + limit]
        fields = [name for name in query.get("fields", "").split(",") if name] or list(DEFAULT_FIELDS)
        for name in fields:
            if name in self.refused_fields:
                raise GraphError(100, message=f"(#100) Tried accessing nonexisting field ({name})")
        data = [{key: value for key, value in t.as_json().items() if key in fields or key == "id"} for t in shown]
        answer: dict[str, Any] = {"data": data}
        if shown:
            answer["paging"] = _paging(query, start, len(shown), len(found), limit=limit, url=url, token=token)
        if "summary" in query:
            answer["summary"] = {
                "total_count": len(found),
                "message_template_count": len(self._by_waba[waba_id]),
                "message_template_limit": TEMPLATES_MAX,
                "are_translations_complete": True,
            }
        return answer

    def d360_list(self, waba_id: str, query: Mapping[str, str]) -> dict[str, Any]:
        """Return a page of 360dialog's list of the same templates (`GET /v1/configs/templates`)."""
        limit, offset = _count(query, "limit", LIMIT_MAX), _count(query, "offset", 0)
        found = self.all(waba_id)
        listed = [
            {
                "name": template.name,
                "language": template.language,
                "category": template.category,
                "status": template.status.lower(),
                "namespace": namespace(waba_id),
                "components": template.components,
                "rejected_reason": "NONE",
            }
            for template in found[offset : offset + limit]
        ]
        paging = {"limit": limit, "offset": offset, "total": len(found)}
        return {"waba_templates": listed, "count": len(listed), "filters": {}, "sort": ["id"]} | paging


def namespace(waba_id: str) -> str:
    """Return the template namespace of an account (on-premise sends and 360dialog's list carry it)."""
    return f"ba30dd89_2ebd_41e4_b805_{waba_id[:12]:0>12}"


def new_template(fields: Mapping[str, Any]) -> Template:
    """Read a template from the body of a create call."""
    for name in ("name", "category"):
        if not isinstance(fields.get(name), str) or not fields[name]:
            raise parameter_required(name)
    components = fields.get("components") or []
    if isinstance(fields.get("body"), str):
        components = [{"type": "BODY", "text": fields["body"]}]
    return Template(
        name=fields["name"],
        category=fields["category"],
        language=str(fields.get("language") or "en_US"),
        status=str(fields.get("status") or "APPROVED").upper(),
        components=components,
    )


def _matches(template: Template, query: Mapping[str, str]) -> bool:
    for name in ("status", "category"):
        wanted = query.get(name, "").upper().strip("[]").replace('"', "")
        if wanted and getattr(template, name) not in wanted.split(","):
            return False
    if query.get("name") and template.name != query["name"]:
        return False
    return not query.get("language") or template.language == query["language"]


def _limit(query: Mapping[str, str]) -> int:
    text = query.get("limit") or str(DEFAULT_LIMIT)
    if not text.isascii() or not text.isdigit() or int(text) < 1:
        raise GraphError(100, message="(#100) Param limit must be a positive integer")
    return min(int(text), LIMIT_MAX)


def _count(query: Mapping[str, str], name: str, usual: int) -> int:
    text = query.get(name, "")
    return min(int(text), TEMPLATES_MAX) if text.isascii() and text.isdigit() else usual


def _cursor(position: int) -> str:
    return base64.urlsafe_b64encode(f"at:{position}".encode()).decode().rstrip("=")


def _position(cursor: str) -> int:
    try:
        text = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)).decode()
        return int(text.removeprefix("at:"))
    except ValueError as error:
        raise GraphError(100, message="(#100) Invalid cursor") from error


def _start(query: Mapping[str, str], limit: int) -> int:
    if query.get("after"):
        return _position(query["after"]) + 1
    if query.get("before"):
        return max(0, _position(query["before"]) - limit)
    return 0


def _paging(
    query: Mapping[str, str], start: int, shown: int, total: int, *, limit: int, url: str, token: str
) -> dict[str, Any]:
    kept = {key: value for key, value in query.items() if key not in ("after", "before", "access_token", "limit")}
    cursors = {"before": _cursor(start), "after": _cursor(start + shown - 1)}
    paging: dict[str, Any] = {"cursors": cursors}
    common = {"access_token": token} | kept | {"limit": str(limit)}
    if start + shown < total:
        paging["next"] = f"{url}?{urlencode(common | {'after': cursors['after']})}"
    if start > 0:
        paging["previous"] = f"{url}?{urlencode(common | {'before': cursors['before']})}"
    return paging
