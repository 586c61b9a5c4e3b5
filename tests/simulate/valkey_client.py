"""As much of redis-py as the wallet uses, over a simulated network."""

from collections.abc import Callable
from typing import Any

import redis.exceptions

from simulate.network import CutError, Link, RefusedError, Reply
from simulate.valkey import Valkey

Command = tuple[Any, ...]
Observer = Callable[[Command, Any], None]


class Client:
    """One process's connection pool."""

    def __init__(self, link: Link, server: Valkey, *, observe: Observer) -> None:
        self._link = link
        self._server = server
        self._observe = observe

    async def aclose(self) -> None:
        """Nothing is open."""

    def pipeline(self, transaction: bool = True) -> "Pipeline":
        return Pipeline(self, transaction)

    async def run(self, commands: list[Command], *, together: bool) -> list[Any]:
        """Bring commands to the server. Whoever asks has a patience of his own, as long as that of the sockets."""
        what = " ".join(str(command[0]) for command in commands)
        try:
            return await self._link.ask(what, lambda reply, _: self._arrive(commands, together, reply))
        except (CutError, RefusedError) as error:
            raise redis.exceptions.ConnectionError(type(error).__name__) from error

    def _arrive(self, commands: list[Command], together: bool, reply: Reply) -> None:
        """Run them: a transaction as one, others one after another with room for those of other connections."""
        if together:
            reply([self._execute(command) for command in commands])
            return
        answers: list[Any] = []
        waiting = iter(commands)

        def following() -> None:
            command = next(waiting, None)
            if command is None:
                reply(answers)
            elif self._link.down:
                reply(CutError())
            else:
                answers.append(self._execute(command))
                self._link.kernel.after(1, following)

        following()

    def _execute(self, command: Command) -> Any:
        try:
            answer = self._server.command(*(str(word) for word in command))
        except redis.exceptions.ResponseError as error:
            return error
        self._observe(command, answer)
        return answer

    async def one(self, *command: Any) -> Any:
        (answer,) = await self.run([command], together=True)
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def ping(self) -> Any:
        return await self.one("PING")

    async def evalsha(self, *words: Any) -> Any:
        return await self.one("EVALSHA", *words)

    async def eval(self, *words: Any) -> Any:
        return await self.one("EVAL", *words)

    async def hmget(self, key: str, fields: list[str]) -> Any:
        return await self.one("HMGET", key, *fields)

    async def hget(self, key: str, field: str) -> Any:
        return await self.one("HGET", key, field)

    async def hgetall(self, key: str) -> dict[str, str]:
        flat = await self.one("HGETALL", key)
        return dict(zip(flat[::2], flat[1::2], strict=True))

    async def hset(self, *words: Any, mapping: dict[Any, Any] | None = None) -> Any:
        return await self.one("HSET", *words, *_flat(mapping))

    async def hdel(self, *words: Any) -> Any:
        return await self.one("HDEL", *words)

    async def delete(self, *keys: Any) -> Any:
        return await self.one("DEL", *keys)

    async def scan(self, cursor: int, *, match: str, count: int) -> Any:
        following, keys = await self.one("SCAN", cursor, "MATCH", match, "COUNT", count)
        return int(following), keys

    async def info(self, *sections: str) -> dict[str, str]:
        text = await self.one("INFO", *sections)
        return dict(line.split(":", 1) for line in text.splitlines() if ":" in line)

    async def time(self) -> Any:
        return await self.one("TIME")


class Pipeline:
    """Commands that go together."""

    def __init__(self, client: Client, transaction: bool) -> None:
        self._client = client
        self._transaction = transaction
        self._commands: list[Command] = []

    def execute_command(self, *words: Any) -> None:
        self._commands.append((*words[0].split(), *words[1:]))

    def __getattr__(self, name: str) -> Any:
        def add(*words: Any, mapping: dict[Any, Any] | None = None, **options: Any) -> "Pipeline":
            assert not options, f"the model of redis-py knows no {options}"
            parts = {"delete": ("DEL",), "script_load": ("SCRIPT", "LOAD")}.get(name, (name.upper(),))
            flat = [item for word in words for item in (word if isinstance(word, list) else [word])]
            self._commands.append((*parts, *flat, *_flat(mapping)))
            return self

        return add

    async def execute(self, raise_on_error: bool = True) -> list[Any]:
        answers = await self._client.run(self._commands, together=self._transaction)
        if raise_on_error:
            for answer in answers:
                if isinstance(answer, Exception):
                    raise answer
        return answers


def _flat(mapping: dict[Any, Any] | None) -> list[Any]:
    return [text for pair in (mapping or {}).items() for text in pair]
