"""The statements of a life with the model's answers, to be put to a real PostgreSQL."""

from dataclasses import dataclass
from typing import Any

from simulate.kernel import SimulationError
from simulate.life import Life
from simulate.world import World

TAKEN_BACK = "taken back"  # in place of a query: a transaction did not come to its commit


@dataclass(frozen=True)
class Recorded:
    """What a life asked of its database, in the order in which it ran, and the tables at its end."""

    numbers: list[str]
    statements: list[tuple[str, tuple[Any, ...], list[dict[str, Any]]]]
    balances: dict[str, int]
    holds: dict[Any, dict[str, Any]]


def statements_of(seed: int) -> Recorded:
    """Live a life, whatever comes of it, and return its statements."""
    world = World(seed)
    numbers = list(world.numbers)
    statements: list[tuple[str, tuple[Any, ...], list[dict[str, Any]]]] = []
    look, roll_back = world.postgres.observe, world.postgres.roll_back

    def ran(query: str, arguments: tuple[Any, ...], rows: list[Any]) -> None:
        statements.append((query, arguments, [dict(row) for row in rows]))
        look(query, arguments, rows)

    def rolls_back(session: Any) -> None:
        changed = bool(session.undo)
        roll_back(session)
        if changed:
            epochs = {number_id: row["epoch"] for number_id, row in world.database.numbers.items()}
            statements.append((TAKEN_BACK, (epochs,), []))

    world.postgres.observe, world.postgres.roll_back = ran, rolls_back  # type: ignore[method-assign]
    try:
        Life(world).run()
    except SimulationError:
        pass
    finally:
        world.kernel.close()
    return Recorded(numbers, statements, dict(world.database.balances), dict(world.database.holds))
