"""Misfortune on demand: what a test tells the simulator to do with the next messages."""

from typing import Any

from pydantic import BaseModel, ConfigDict, Field, field_validator

from .config import STATUSES


class Behaviour(BaseModel):
    """What to do with a message instead of simply accepting it. Unset fields change nothing."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    times: int | None = Field(default=None, ge=1)
    """For how many messages this holds; unset: until the next behaviour is set."""

    http_status: int | None = Field(default=None, ge=200, le=599)
    """Answer with this HTTP status instead of accepting."""
    code: int | None = None
    """Graph error code of that answer; alone, it brings the HTTP status Meta documents for it."""
    details: str | None = None
    raw_body: str | None = None
    """Answer exactly this (an HTML page, an empty string) with `http_status`."""
    headers: dict[str, str] = Field(default_factory=dict)
    """Headers added to the answer (`Retry-After`)."""

    answer_delay_s: float = Field(default=0.0, ge=0)
    """Wait before the answer."""
    hang: bool = False
    """Never answer; ends when the client leaves."""
    reset: bool = False
    """Read the request, then reset the connection."""
    accept: bool = False
    """Accept the message (its statuses follow) although the answer is an error, a hang or a reset."""

    message_status: str = "accepted"
    """`held_for_quality_assessment` or `paused` in the answer to a template."""
    statuses: tuple[str, ...] | None = None
    """What becomes of the message: `["sent", "failed"]`, or `[]` for silence."""
    status_error: int = 131026
    """Error code in the `errors[]` of a `failed` status."""
    status_delay_s: float | None = Field(default=None, ge=0)
    duplicate: bool = False
    """Post every status twice."""
    reverse: bool = False
    """Post the statuses last first."""
    pricing: dict[str, Any] = Field(default_factory=dict)
    """Wins over the simulator's own rules: `{"category": "marketing", "type": "regular"}`."""

    @field_validator("statuses")
    @classmethod
    def _known(cls, value: tuple[str, ...] | None) -> tuple[str, ...] | None:
        unknown = set(value or ()) - set(STATUSES)
        if unknown:
            raise ValueError(f"unknown statuses {sorted(unknown)}, known are {', '.join(STATUSES)}")
        return value

    @property
    def fails(self) -> bool:
        """Whether the client gets anything but the usual answer."""
        return self.hang or self.reset or self.http_status is not None or self.code is not None


class Script:
    """The behaviours in order; each holds for its `times`, then the next one does."""

    def __init__(self) -> None:
        self._steps: list[Behaviour] = []
        self._left = 0

    @property
    def steps(self) -> list[Behaviour]:
        """What is still to come, the current one first with its remaining count."""
        first = [step.model_copy(update={"times": self._left}) if step.times else step for step in self._steps[:1]]
        return first + self._steps[1:]

    def set(self, *steps: Behaviour) -> None:
        """Replace the script; without steps everything is normal again."""
        self._steps = list(steps)
        self._left = (self._steps[0].times or 0) if self._steps else 0

    def next(self) -> Behaviour:
        """Return the behaviour for one more message and count it."""
        if not self._steps:
            return Behaviour()
        step = self._steps[0]
        if step.times is not None:
            self._left -= 1
            if self._left == 0:
                self.set(*self._steps[1:])
        return step
