"""Spans of time in a query, and the holds that belong to them."""

from datetime import datetime
from uuid import UUID

from pydantic import AwareDatetime, Field, model_validator

from farebox.admin.clock import EARLIEST, LATEST
from farebox.admin.fields import refuse
from farebox.admin.models import Asked
from farebox.core.hold import first_hold_id


class SpanQuery(Asked):
    """From a time on, and until before another."""

    from_: AwareDatetime | None = Field(None, alias="from", description="Sent at this time or later (ISO 8601).")
    to: AwareDatetime | None = Field(None, description="Sent before this time.")

    @model_validator(mode="after")
    def _in_order(self) -> "SpanQuery":
        if self.from_ is not None and self.to is not None and self.to < self.from_:
            raise refuse("to must not be before from")
        return self

    @property
    def hold_ids(self) -> tuple[UUID, UUID]:
        """The first hold id of the span, and the first after it: ids sort by time."""
        return _id_at(self.from_ or EARLIEST), _id_at(self.to or LATEST)


def _id_at(moment: datetime) -> UUID:
    return first_hold_id(round(min(max(moment, EARLIEST), LATEST).timestamp() * 1000))
