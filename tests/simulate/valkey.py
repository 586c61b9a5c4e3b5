"""A Valkey in memory that runs the gateway's own scripts, and can lose what a real one can lose."""

import hashlib
import json
from fnmatch import fnmatchcase
from functools import cache
from typing import Any

import lupa.lua51 as lupa
from redis.exceptions import NoScriptError, ResponseError

Hash = dict[str, str]

_lua = lupa.LuaRuntime(unpack_returned_tuples=False, register_eval=False, attribute_filter=None)
_calls: list["Valkey"] = []  # the store whose script runs


@cache
def _compiled(script: str) -> Any:
    return _lua.execute(f"return function(KEYS, ARGV)\n{script}\nend")


@cache
def _decoded(text: str) -> Any:
    return _table(json.loads(text))


def _table(value: Any) -> Any:
    if isinstance(value, dict):
        return _lua.table_from({key: _table(item) for key, item in value.items()})
    if isinstance(value, list):
        return _lua.table_from([_table(item) for item in value])
    return value


def _answer(value: Any) -> Any:
    """Return what a client gets for what a script returns."""
    if lupa.lua_type(value) == "table":
        return [_answer(value[place]) for place in range(1, len(value) + 1)]
    if value is None or value is False:
        return None
    if value is True:
        return 1
    return int(value) if isinstance(value, float) else value


def _call(command: str, *arguments: Any) -> Any:
    """`redis.call`: nothing is false in Lua, a list a table."""
    texts = [f"{argument:.17g}" if isinstance(argument, float) else str(argument) for argument in arguments]
    answer = _calls[-1].command(command, *texts)
    if isinstance(answer, list):
        return _lua.table_from([False if item is None else item for item in answer])
    return False if answer is None else answer


_lua.globals().redis = _lua.table_from({"call": _call, "sha1hex": lambda text: hashlib.sha1(text.encode()).hexdigest()})
_lua.globals().cjson = _lua.table_from({"decode": _decoded})


class Valkey:
    """The server: keys, expiry by virtual time, scripts, and who it is."""

    def __init__(self, run_id: str, clock_us: Any) -> None:
        self._clock_us = clock_us
        self.keys: dict[str, Hash | str] = {}
        self.expiry_us: dict[str, int] = {}
        self.scripts: dict[str, str] = {}
        self.run_id = self.replication_id = run_id
        self.down = False

    @property
    def identity(self) -> str:
        """Return what the gateway knows this life of the store by."""
        return self.run_id[:16] + self.replication_id[:16]

    def snapshot(self) -> tuple[dict[str, Hash | str], dict[str, int]]:
        """Return what the disk has at this moment."""
        kept = {key: dict(value) if isinstance(value, dict) else value for key, value in self.keys.items()}
        return kept, dict(self.expiry_us)

    def restart(self, run_id: str, kept: tuple[dict[str, Hash | str], dict[str, int]]) -> None:
        """Come up again as another process, with what an earlier moment had written."""
        self.keys, self.expiry_us = kept
        self.scripts = {}
        self.run_id, self.down = run_id, False

    def command(self, name: str, *arguments: str) -> Any:
        """Run one command, whole."""
        method = getattr(self, "_" + name.lower(), None)
        if method is None:
            raise NotImplementedError(f"the model of Valkey has no {name}")
        return method(*arguments)

    def _live(self, key: str) -> Any:
        expiry_us = self.expiry_us.get(key)
        if expiry_us is not None and expiry_us <= self._clock_us():
            self._del(key)
        return self.keys.get(key)

    def _hash(self, key: str) -> Hash:
        found = self._live(key)
        if found is None:
            found = self.keys[key] = {}
        return found

    def _ping(self) -> str:
        return "PONG"

    def _time(self) -> list[str]:
        seconds, micros = divmod(self._clock_us(), 1_000_000)
        return [str(seconds), str(micros)]

    def _info(self, *sections: str) -> str:
        asked = {section.lower() for section in sections} or {"server", "replication"}
        lines = []
        if "server" in asked:
            lines += ["# Server", "redis_version:7.2.4", f"run_id:{self.run_id}"]
        if "replication" in asked:
            lines += ["# Replication", "role:master", f"master_replid:{self.replication_id}", "master_repl_offset:1"]
        return "\r\n".join(lines) + "\r\n"

    def _hget(self, key: str, field: str) -> str | None:
        return (self._live(key) or {}).get(field)

    def _hmget(self, key: str, *fields: str) -> list[str | None]:
        found = self._live(key) or {}
        return [found.get(field) for field in fields]

    def _hgetall(self, key: str) -> list[str]:
        return [text for pair in (self._live(key) or {}).items() for text in pair]

    def _hlen(self, key: str) -> int:
        return len(self._live(key) or {})

    def _hexists(self, key: str, field: str) -> int:
        return int(field in (self._live(key) or {}))

    def _hset(self, key: str, *pairs: str) -> int:
        found = self._hash(key)
        before = len(found)
        found.update(zip(pairs[::2], pairs[1::2], strict=True))
        return len(found) - before

    def _hsetnx(self, key: str, field: str, value: str) -> int:
        if field in (self._live(key) or {}):
            return 0
        return self._hset(key, field, value)

    def _hdel(self, key: str, *fields: str) -> int:
        found = self._live(key)
        if found is None:
            return 0
        gone = sum(found.pop(field, None) is not None for field in fields)
        if not found:
            self._del(key)
        return gone

    def _hincrby(self, key: str, field: str, by: str) -> int:
        found = self._hash(key)
        value = int(found.get(field, "0")) + int(by)
        found[field] = str(value)
        return value

    def _get(self, key: str) -> str | None:
        return self._live(key)

    def _set(self, key: str, value: str, *options: str) -> str | None:
        words = [option.upper() for option in options]
        if "NX" in words and self._live(key) is not None:
            return None
        self._del(key)
        self.keys[key] = value
        for unit, us in (("EX", 1_000_000), ("PX", 1_000)):
            if unit in words:
                self.expiry_us[key] = self._clock_us() + int(options[words.index(unit) + 1]) * us
        return "OK"

    def _exists(self, *keys: str) -> int:
        return sum(self._live(key) is not None for key in keys)

    def _del(self, *keys: str) -> int:
        gone = 0
        for key in keys:
            gone += self.keys.pop(key, None) is not None
            self.expiry_us.pop(key, None)
        return gone

    _unlink = _del

    def _pexpire(self, key: str, ms: str, *options: str) -> int:
        until_us = self._clock_us() + int(ms) * 1_000
        if self._live(key) is None or ("GT" in options and self.expiry_us.get(key, until_us) >= until_us):
            return 0
        self.expiry_us[key] = until_us
        return 1

    def _persist(self, key: str) -> int:
        return int(self._live(key) is not None and self.expiry_us.pop(key, None) is not None)

    def _scan(self, cursor: str, _match: str, pattern: str, _count: str, count: str) -> list[Any]:
        """Page through the keys by their digests: one that is there all the while is seen, whatever comes and goes."""
        left = sorted((int(hashlib.sha1(key.encode()).hexdigest()[:12], 16), key) for key in self.keys)
        page = [pair for pair in left if pair[0] > int(cursor)][: int(count)]
        found = [key for _, key in page if fnmatchcase(key, pattern) and self._live(key) is not None]
        return [str(page[-1][0]) if page and page[-1] != left[-1] else "0", found]

    def _expire(self, key: str, seconds: str) -> int:
        return self._pexpire(key, str(int(seconds) * 1_000))

    def _flushall(self, *_: str) -> str:
        self.keys, self.expiry_us = {}, {}
        return "OK"

    def _script(self, verb: str, text: str) -> str:
        assert verb.lower() == "load", verb
        digest = hashlib.sha1(text.encode()).hexdigest()
        self.scripts[digest] = text
        return digest

    def _evalsha(self, digest: str, count: str, *texts: str) -> Any:
        if digest not in self.scripts:
            raise NoScriptError("NOSCRIPT No matching script.")
        return self._run(self.scripts[digest], count, *texts)

    def _eval(self, script: str, count: str, *texts: str) -> Any:
        self._script("load", script)
        return self._run(script, count, *texts)

    def _run(self, script: str, count: str, *texts: str) -> Any:
        keys, arguments = texts[: int(count)], texts[int(count) :]
        _calls.append(self)
        try:
            return _answer(_compiled(script)(_lua.table_from(list(keys)), _lua.table_from(list(arguments))))
        except lupa.LuaError as error:
            raise ResponseError(str(error)) from error
        finally:
            _calls.pop()
