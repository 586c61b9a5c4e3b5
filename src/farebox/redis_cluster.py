"""A Redis or Valkey Cluster behind the calls of redis-py's ordinary client.

What the wallet asks of one server it asks of many, and what happens to one of them happens to its own numbers alone.

redis-py's cluster client is not used. A node that is gone fails its whole pipelines, each loss makes it close every
connection and sleep for 250 ms, and its ASKING may go out on another connection than the command it is for. Its
ordinary client is right, so there is one for each node, and here is only what lies between: the map of slots, pipelines
that go to several nodes at once, and redirections. The keys of one command share a hash tag.

Repeating is safe: a command that is redirected has done nothing where it came from. One whose connection broke fails,
and scripts.py repeats it where that may be (what a hold id has taken is answered again, not taken again).
"""

import asyncio
import logging
import random
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, Literal, Self

from redis.asyncio import Redis
from redis.commands import AsyncCoreCommands
from redis.crc import key_slot
from redis.exceptions import (
    AskError,
    ClusterDownError,
    ConnectionError,  # noqa: A004  redis-py's, which is not Python's
    MovedError,
    RedisError,
    ResponseError,
    TimeoutError,  # noqa: A004
    TryAgainError,
)

from farebox.redis_url import Address

log = logging.getLogger(__name__)

AWAY = (ConnectionError, TimeoutError, OSError)
MAX_HOPS = 6  # redirections of one command: after MOVED an ASK may follow, and TRYAGAIN a few times
TRY_AGAIN_S = 0.005  # pause while the keys of a slot under way lie on two nodes
LOOK_PAUSE_S = 0.1  # between two looks at the map, so that a broken cluster is not asked at the rate of the sends
KEYLESS = frozenset({"PING", "INFO", "TIME", "SCRIPT LOAD", "SCRIPT EXISTS"})
SCRIPTED = frozenset({"EVAL", "EVALSHA"})


@dataclass(slots=True, eq=False)
class _Command:
    args: tuple[Any, ...]
    options: dict[str, Any]
    slot: int | None
    asked_of: Address | None = None  # the node that takes the slot over, where the slot's own node sends us there
    result: Any = None


class Cluster(AsyncCoreCommands):
    """The nodes of one cluster. Errors are those of redis-py."""

    _is_async_client: Literal[True] = True  # which of their two types redis-py's commands have
    _event_dispatcher: Any = None

    def __init__(self, seeds: Sequence[Address], options: Mapping[str, Any]) -> None:
        """`seeds` are some of the nodes; `options` are those of each node's client."""
        self._seeds = tuple(seeds)
        self._options = dict(options)
        self._patience_s: float = options["socket_connect_timeout"]  # with one node where another may answer instead
        self._nodes: dict[Address, Redis] = {}
        self._owners: dict[int, Address] = {}
        self._look: asyncio.Task[None] | None = None
        self._looked_at = float("-inf")

    async def aclose(self) -> None:
        """Close all connections."""
        if self._look is not None:
            self._look.cancel()
            await asyncio.wait([self._look])
        nodes, self._nodes = self._nodes, {}
        await asyncio.gather(*(node.aclose() for node in nodes.values()), return_exceptions=True)

    def pipeline(self, transaction: bool = True) -> "Pipeline":  # noqa: FBT001, FBT002  redis-py's own signature
        """Return a queue of commands; those of a transaction share a slot."""
        return Pipeline(self, transaction=transaction)

    def lane(self, key: str) -> str:
        """Name the node that a key is on, as far as is known: what goes to one node need not wait for another."""
        host, port = self._owners.get(_slot(key), ("", 0))
        return f"{host}:{port}"

    async def lanes(self) -> list[str]:
        """Name the nodes that have slots, by a new look at the map: one may have taken over from another."""
        await self._find_owners()
        return sorted({f"{host}:{port}" for host, port in self._owners.values()})

    def node(self, lane: str) -> Redis:
        """Return the client of a node, for what is about the node rather than about a key."""
        host, _, port = lane.rpartition(":")
        return self._node((host, int(port)))

    async def execute_command(self, *args: Any, **options: Any) -> Any:
        """Run one command where its key is. One without a key runs on every node, and needs an answer of one."""
        command = command_of(args, options)
        if command.slot is None:
            return await self._everywhere(command)
        await self.run([command], transaction=False)
        if isinstance(command.result, Exception):
            raise command.result
        return command.result

    async def run(self, commands: Sequence[_Command], *, transaction: bool) -> None:
        """Run commands, one pipeline for each node, and leave in each its result or its exception."""
        if any(command.slot not in self._owners for command in commands):
            try:
                await self._find_owners()
            except AWAY as error:
                _fail(commands, error)
                return
        await self._dispatch(commands, transaction=transaction, hops=MAX_HOPS)

    async def _dispatch(self, commands: Sequence[_Command], *, transaction: bool, hops: int) -> None:
        groups: dict[Address, list[_Command]] = {}
        for command in commands:
            assert command.slot is not None, "a command without a key goes everywhere"
            address = command.asked_of or self._owners.get(command.slot)
            if address is None:
                command.result = ClusterDownError("no node serves the slot")
                self._look_soon()
            else:
                groups.setdefault(address, []).append(command)
        await asyncio.gather(
            *(self._send(address, group, transaction=transaction, hops=hops) for address, group in groups.items())
        )

    async def _send(self, address: Address, commands: list[_Command], *, transaction: bool, hops: int) -> None:
        pipeline = self._node(address).pipeline(transaction=transaction)
        for command in commands:
            if command.asked_of is not None:
                pipeline.execute_command("ASKING")  # counts for the next command on this connection
            pipeline.execute_command(*command.args, **command.options)
        try:
            answers = iter(await pipeline.execute(raise_on_error=False))
        except AWAY as error:
            _fail(commands, error)
            self._look_soon()  # a replica may have taken over
            return
        except asyncio.CancelledError:  # whoever asked has waited long enough
            self._look_soon()
            raise
        except ResponseError as error:  # of a transaction: nothing of it was done
            _fail(commands, error)
        else:
            for command in commands:
                if command.asked_of is not None:
                    next(answers)
                command.result = next(answers)
        again = [command for command in commands if self._is_sent_on(command, address, transaction=transaction)]
        if again and hops:
            if any(isinstance(command.result, TryAgainError) or transaction for command in again):
                await asyncio.sleep(TRY_AGAIN_S)
            await self._dispatch(again, transaction=transaction, hops=hops - 1)

    def _is_sent_on(self, command: _Command, address: Address, *, transaction: bool) -> bool:
        """Tell whether a command is to be sent again, and note where to."""
        answer, command.asked_of = command.result, None
        if isinstance(answer, ClusterDownError):
            self._look_soon()
        if not isinstance(answer, AskError | TryAgainError):
            return False
        if isinstance(answer, MovedError):  # which redis-py takes for a kind of AskError
            self._owners[answer.slot_id] = (answer.host or address[0], answer.port)
            self._look_soon()  # slots rarely move alone
        elif isinstance(answer, AskError) and not transaction:  # inside of MULTI, ASKING is without effect
            command.asked_of = (answer.host or address[0], answer.port)
        return True

    async def _everywhere(self, command: _Command) -> Any:
        if not self._owners:
            await self._find_owners()
        # The nodes without slots as well: one may be about to get its first.
        nodes = [self._node(address) for address in dict.fromkeys((*self._owners.values(), *self._nodes))]
        answers = await asyncio.gather(
            *(self._ask(node, *command.args, **command.options) for node in nodes),
            return_exceptions=True,
        )
        for answer in answers:
            if not isinstance(answer, BaseException):
                return answer
        self._look_soon()
        raise answers[0]

    async def _ask(self, node: Redis, *args: Any, **options: Any) -> Any:
        async with asyncio.timeout(self._patience_s):
            return await node.execute_command(*args, **options)  # type: ignore[no-untyped-call]

    def _node(self, address: Address) -> Redis:
        if address not in self._nodes:
            self._nodes[address] = Redis(host=address[0], port=address[1], **self._options)
        return self._nodes[address]

    async def _find_owners(self) -> None:
        """Wait for a look at the map that starts now, or is under way."""
        if self._look is None:
            self._look = asyncio.create_task(self._read_map())
            self._look.add_done_callback(self._looked)
        await asyncio.shield(self._look)

    def _look_soon(self) -> None:
        """Look at the map beside what is under way, unless that was just done."""
        if self._look is None and time.monotonic() - self._looked_at >= LOOK_PAUSE_S:
            self._look = asyncio.create_task(self._read_map())
            self._look.add_done_callback(self._looked)

    def _looked(self, look: asyncio.Task[None]) -> None:
        self._look, self._looked_at = None, time.monotonic()
        if not look.cancelled() and (error := look.exception()) is not None:
            log.warning("%s", error)

    async def _read_map(self) -> None:
        """Ask one node after the other which node has which slots; the first answer counts.

        Where a node is wrong (it was cut off), a redirection or an error soon tells, and another look follows.
        """
        known = list(dict.fromkeys(chain(self._nodes, self._seeds)))
        random.shuffle(known)
        mistake: Exception | None = None
        for address in known:
            try:
                rows = await self._ask(self._node(address), "CLUSTER SLOTS")
            except (RedisError, OSError) as error:
                mistake = error
                continue
            owners = {
                slot: (str(host or address[0]), int(port))
                for first, last, (host, port, *_), *_ in rows
                for slot in range(first, last + 1)
            }
            if owners:
                self._owners = owners
                await self._forget_nodes({*owners.values(), *self._seeds})
                return
        raise ConnectionError(f"no node of the cluster says where its slots are: {mistake or 'it has none'}")

    async def _forget_nodes(self, kept: set[Address]) -> None:
        for address in self._nodes.keys() - kept:
            await self._nodes.pop(address).aclose()


class Pipeline(AsyncCoreCommands):
    """Commands that go out together, to each node its own."""

    _is_async_client: Literal[True] = True
    _event_dispatcher: Any = None

    def __init__(self, cluster: Cluster, *, transaction: bool) -> None:
        self._cluster = cluster
        self._transaction = transaction
        self._commands: list[_Command] = []

    def execute_command(self, *args: Any, **options: Any) -> Self:
        """Queue a command."""
        self._commands.append(command_of(args, options))
        return self

    async def execute(self, raise_on_error: bool = True) -> list[Any]:  # noqa: FBT001, FBT002
        """Run what was queued; return the results, or with `raise_on_error=False` results and exceptions.

        What has no key (a script to load) goes to every node before the rest. A transaction that failed raises in
        either case: nothing of it was done, or nobody knows.
        """
        commands, self._commands = self._commands, []
        keyed = [command for command in commands if command.slot is not None]
        assert not self._transaction or len({command.slot for command in keyed}) == 1, "a transaction is of one slot"
        for command in commands:
            if command.slot is None:
                command.result = await self._cluster.execute_command(*command.args, **command.options)
        await self._cluster.run(keyed, transaction=self._transaction)
        failed = [command.result for command in commands if isinstance(command.result, Exception)]
        if failed and (raise_on_error or (self._transaction and len(failed) == len(commands))):
            raise failed[0]
        return [command.result for command in commands]


def command_of(args: tuple[Any, ...], options: dict[str, Any]) -> _Command:
    """Return a command with the slot of its (first) key."""
    place = 3 if args[0] in SCRIPTED else 1  # after a script's digest and the number of its keys
    return _Command(args, options, None if args[0] in KEYLESS else _slot(args[place]))


def _slot(key: str) -> int:
    return key_slot(key.encode())


def _fail(commands: Sequence[_Command], error: Exception) -> None:
    for command in commands:
        command.result = error
