"""What the books can not take fails alone, is kept with its reason, and can be told again."""

from typing import Any

import pytest

from farebox import __main__ as command_line
from farebox import intake, quarantine
from farebox.commands import replay
from farebox.gate import Gate
from farebox.news import Kind, Piece
from harness import NUMBER, USER, World, template
from test_inbound import REGULAR, inbound, payload, post, sent, status


async def shown(world: World, query: str = "") -> list[Any]:
    answer = await world.admin("GET", f"/v1/quarantine{query}")
    rows: list[Any] = answer["quarantine"]
    return rows


def break_statuses_of(monkeypatch: pytest.MonkeyPatch, wamid: str) -> None:
    """Let the books fail on every batch with this message in it."""
    keep = intake.keep_statuses

    async def failing(gate: Gate, number: Any, statuses: Any, **options: Any) -> Any:
        if any(one.wamid == wamid for one in statuses):
            raise ValueError(f"{USER} must not be told")
        return await keep(gate, number, statuses, **options)

    monkeypatch.setattr(intake, "keep_statuses", failing)


async def test_a_status_that_fails_stops_neither_the_relay_nor_the_others(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    good, bad = await sent(world), (await world.send(template())).json["messages"][0]["id"]
    break_statuses_of(monkeypatch, bad)
    said = [status(bad, pricing=REGULAR), status(good, "failed"), status(good, pricing=REGULAR)]
    for _ in range(2):  # delivered again, it is still one row
        assert (await post(world, payload(statuses=said)))[0] == 200
    assert len(world.app.seen) == 2
    assert (await world.message(good))["state"] == "settled"
    assert await world.balance() == {"available": "0.9932", "held": "0.0034"}
    (row,) = await shown(world, f"?kind=status&about={NUMBER}")
    assert row["reason"] == "The bookkeeping failed with ValueError; the log of farebox has the stack."
    assert row["content"]["wamid"] == bad
    assert USER not in str(row)
    replayed = f"/v1/quarantine/{row['quarantine_id']}/replay"
    assert (await world.admin("POST", replayed))["resolved"] is False
    assert (await shown(world))[0]["tries"] == 2
    monkeypatch.undo()
    assert await world.admin("POST", replayed) == {"resolved": True, "reason": None}
    assert await world.balance() == {"available": "0.9932", "held": "0.00"}
    assert await shown(world) == []
    assert len(await shown(world, "?resolved=true")) == 1
    await world.admin("POST", replayed, expect=404)
    assert await world.differences() == []


async def test_a_number_that_is_not_ours_is_shown_until_it_is(world: World) -> None:
    await world.fund("1.00")
    said = [status("wamid.1", pricing=REGULAR), status("wamid.1", "sent"), status("wamid.2", pricing=REGULAR)]
    assert (await post(world, payload("777", statuses=said)))[0] == 200
    rows = await shown(world, "?kind=foreign")
    assert [row["content"]["wamid"] for row in rows] == ["wamid.2", "wamid.1"]
    assert rows[0]["reason"] == "Number 777 is not one of ours; add it and tell this again."
    settings, options = world.gate.settings, command_line._parser().parse_args(["replay", "--all"])
    assert await replay.run(settings, options) == 1
    await world.add_number("777")
    options = command_line._parser().parse_args(["replay", "--id", str(rows[0]["quarantine_id"])])
    assert await replay.run(settings, options) == 0
    assert len(await shown(world)) == 1
    assert await world.balance() == {"available": "1.00", "held": "0.00"}


async def test_the_quarantine_is_bounded_for_each_kind(gate: Gate, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quarantine, "MAX_OPEN", 2)
    for kind in (Kind.FOREIGN, Kind.STATUS):
        for serial in range(3):
            await quarantine.put(gate.ledger, Piece(kind, "1", {"serial": serial}), "Why.", gate.clock.now_ms())
    rows = await quarantine.open_after(gate.ledger, 0, 10)
    assert [row.piece.kind for row in rows] == [Kind.FOREIGN, Kind.FOREIGN, Kind.STATUS, Kind.STATUS]
    await quarantine.resolve(gate.ledger, rows[0].quarantine_id, gate.clock.now_ms())
    await quarantine.forget(gate.ledger, gate.clock.now_ms() + quarantine.KEEP_RESOLVED_MS + 1)
    assert len(await gate.ledger.fetch("quarantine", None, None, True, 1 << 62, 9)) == 0
    assert await quarantine.find(gate.ledger, rows[0].quarantine_id) is None


async def test_windows_of_a_payload_open_although_its_status_fails(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    break_statuses_of(monkeypatch, "wamid.bad")
    assert (await post(world, payload(**inbound(), statuses=[status("wamid.bad")])))[0] == 200
    rows = await world.gate.ledger.fetch("windows_of", NUMBER, [USER], 0)
    assert [row["user_id"] for row in rows] == [USER]
