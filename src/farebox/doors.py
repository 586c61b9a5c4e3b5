"""The two doors that webhooks come in by: which numbers a payload is about, and whether it may move them.

Meta signs; 360dialog and the on-premise API sign nothing that a client could check, so there the number's own secret is
presented. A number is moved only through a door whose secret it has: what is known of one door opens no other.
"""

from dataclasses import replace
from typing import Any, Protocol

from farebox.access import Request
from farebox.core.reply import Dialect
from farebox.core.webhook import SIGNATURE_HEADER, Part, TemplateChange, parts_of, signature_ok
from farebox.directory import Number
from farebox.gate import Gate

SECRET_HEADER = "X-Farebox-Webhook-Secret"  # noqa: S105  the name of a header


class Door(Protocol):
    """What a relay must know of the door that a payload came in by."""

    dialect: Dialect  # of our own answers
    complaint: str  # what is wrong with a payload that is not trusted

    def parts(self, payload: dict[str, Any]) -> list[Part]:
        """Return what a payload says."""

    def owner(self, part: Part) -> Number | None:
        """Return the one number that a part is about, None where it is about an account or a number unknown here."""

    def numbers(self, part: Part) -> list[Number]:
        """Return all numbers that a part concerns."""

    def trusts(self, part: Part) -> bool:
        """Tell whether a part may move money."""

    def signing_secret(self, number: Number) -> str | None:
        """Return what signs a payload that was changed for a number's application; None: nothing does."""


class MetaDoor:
    """`/webhooks/meta`: every part must be signed by its own number's app."""

    dialect = Dialect.CLOUD
    complaint = "The signature of this webhook is not valid."

    def __init__(self, gate: Gate, request: Request) -> None:
        self._directory = gate.directory
        self._common = gate.settings.app_secret.get_secret_value() if gate.settings.app_secret else None
        self._body = request.body
        self._header = request.headers.get(SIGNATURE_HEADER, "")

    def parts(self, payload: dict[str, Any]) -> list[Part]:
        """Return what a payload says."""
        return parts_of(payload)

    def owner(self, part: Part) -> Number | None:
        """Return the number that a part names."""
        return self._directory.numbers.get(part.number_id or "")

    def numbers(self, part: Part) -> list[Number]:
        """Return the number that a part names, or all of its account where it names none."""
        if part.number_id is None:
            return self._directory.wabas.get(part.waba_id, [])
        owner = self.owner(part)
        return [] if owner is None else [owner]

    def trusts(self, part: Part) -> bool:
        """Tell whether a part was signed by its own number's app: one number's secret must not move another's money."""
        numbers = self.numbers(part)
        secrets = {self.signing_secret(number) for number in numbers} if numbers else {self._common}
        return any(secret and signature_ok(self._body, secret, self._header) for secret in secrets)

    def signing_secret(self, number: Number) -> str | None:
        """Return the secret of a number's app. The common one is of our own app, which has no numbers of 360dialog."""
        return number.app_secret or (self._common if number.dialect is Dialect.CLOUD else None)


class SecretDoor:
    """`/webhooks/360dialog`: whoever presents a number's webhook secret speaks for it."""

    dialect = Dialect.D360
    complaint = (
        "The webhook secret is missing or not that of every number in this webhook; it is the last part of the path, "
        f"or the header {SECRET_HEADER}, and must be the webhook_secret of the number."
    )

    def __init__(self, gate: Gate, secret: str) -> None:
        self._directory = gate.directory
        self._own = gate.directory.of_webhook_secret(secret)

    def parts(self, payload: dict[str, Any]) -> list[Part]:
        """Return what a payload says; of one that says nothing we know, an empty part: it reaches its number too."""
        return parts_of(payload) or [Part("", None, (), (), ())]

    def owner(self, part: Part) -> Number | None:
        """Return the number that a part names; where it names none, the one that the secret belongs to."""
        if part.number_id is not None:
            return self._directory.numbers.get(part.number_id)
        return self._own[0] if len(self._own) == 1 else None

    def numbers(self, part: Part) -> list[Number]:
        """Return the number that a part names, or all that the secret belongs to where it names none."""
        if part.number_id is None:
            return self._own
        owner = self.owner(part)
        return [] if owner is None else [owner]

    def trusts(self, part: Part) -> bool:
        """Tell whether the secret is that of the part's number. It may be shared, but then the part must name one."""
        if part.number_id is None and (part.inbound or part.statuses):
            return self.owner(part) is not None
        return bool(self._own) and all(number in self._own for number in self.numbers(part))

    def signing_secret(self, number: Number) -> str | None:  # noqa: ARG002  of the protocol
        """Return None: what 360dialog delivers has no signature that an application could check."""
        return None


def template_changes(door: Door, part: Part) -> list[TemplateChange]:
    """Return a part's template changes, each for the lists of the numbers that it concerns and for no other list."""
    return [
        replace(change, waba_id=registry)
        for change in part.templates
        for registry in {n.registry for n in door.numbers(part) if n.waba_id in ("", change.waba_id)}
    ]


def accounts_of(door: Door, part: Part) -> set[str]:
    """Return the business accounts that a part may speak for: its own, if it concerns a number of it."""
    return {number.waba_id for number in door.numbers(part) if number.waba_id and number.waba_id == part.waba_id}
