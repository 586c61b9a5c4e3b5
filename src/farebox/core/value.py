"""Values: small classes whose instances never change."""

from dataclasses import dataclass, field
from typing import TypeVar, dataclass_transform

Class = TypeVar("Class", bound=type)


@dataclass_transform(frozen_default=True, field_specifiers=(field,))
def value(cls: Class) -> Class:
    """Make a dataclass that the type checker takes for a frozen one, for what is made with every send.

    At run time nothing watches over it: to make one that is frozen there too takes three times as long, because each
    of its fields is set past its own guard.
    """
    return dataclass(slots=True, unsafe_hash=True)(cls)  # type: ignore[return-value]
