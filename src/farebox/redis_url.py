"""Reads the URL of the wallets' store: one server, a cluster, or a master that sentinels know.

    redis://user:password@host:6379/0                       one server; rediss:// over TLS
    unix:///run/valkey/valkey.sock?db=0                     one server on this machine
    redis+cluster://user:password@host1:6379,host2:6379/    a cluster; any of its nodes, the rest is found
    redis+sentinel://user:password@host1:26379,host2:26379/master-name/0?sentinel_password=...
                                                            sentinels, and the name under which they know the master

`rediss+cluster` and `rediss+sentinel` speak TLS, to the sentinels too. Parameters: `db`, `ssl_ca_certs` (file of the
CA, without it the system's), `ssl_certfile` and `ssl_keyfile` (our own certificate), `ssl_check_hostname=false` (where
a certificate names no addresses: the CA is checked all the same), `sentinel_username` and `sentinel_password`.
What is wrong is a RedisUrlError of one sentence, and never repeats the URL: it holds a password.
"""

from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote

REDIS_PORT = 6379
SENTINEL_PORT = 26379
TLS_FILES = ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile")
PARAMETERS = ("db", *TLS_FILES, "ssl_check_hostname", "sentinel_username", "sentinel_password")

Address = tuple[str, int]


class RedisUrlError(ValueError):
    """The URL names no store; the text says what it should be."""


class Kind(StrEnum):
    """What stands behind a URL."""

    SINGLE = "single"
    UNIX = "unix"
    CLUSTER = "cluster"
    SENTINEL = "sentinel"


SCHEMES = {
    "redis": (Kind.SINGLE, False),
    "rediss": (Kind.SINGLE, True),
    "unix": (Kind.UNIX, False),
    "redis+cluster": (Kind.CLUSTER, False),
    "rediss+cluster": (Kind.CLUSTER, True),
    "redis+sentinel": (Kind.SENTINEL, False),
    "rediss+sentinel": (Kind.SENTINEL, True),
}


@dataclass(frozen=True, slots=True)
class RedisUrl:
    """Where the store is and how to log in. Options are keyword arguments of redis-py's client."""

    kind: Kind
    addresses: tuple[Address, ...] = ()  # servers, nodes or sentinels
    socket: str = ""
    master_name: str = ""
    options: dict[str, Any] = field(default_factory=dict, repr=False)
    sentinel_options: dict[str, Any] = field(default_factory=dict, repr=False)


def parse_redis_url(url: str) -> RedisUrl:
    """Return what a URL says; raises RedisUrlError."""
    scheme, separator, rest = url.partition("://")
    if not separator or scheme not in SCHEMES:
        raise RedisUrlError(f"a Redis URL starts with one of {', '.join(f'{known}://' for known in SCHEMES)}")
    kind, tls = SCHEMES[scheme]
    rest, _, query = rest.partition("?")
    authority, _, path = rest.partition("/")
    login, _, hosts = authority.rpartition("@")
    parameters = _parameters(query, kind, tls=tls)
    options = _login(login) | _tls(parameters, tls=tls)
    if kind is Kind.UNIX:
        if not path:
            raise RedisUrlError("a unix:// URL names the socket's path, as in unix:///run/valkey/valkey.sock")
        return RedisUrl(kind, socket="/" + unquote(path), options=options | _database(parameters, ""))
    if kind is Kind.SENTINEL:
        master_name, _, path = path.partition("/")
        if not master_name:
            raise RedisUrlError("a sentinel URL names the master, as in redis+sentinel://host:26379/master-name/0")
        return RedisUrl(
            kind,
            _addresses(hosts, SENTINEL_PORT),
            master_name=unquote(master_name),
            options=options | _database(parameters, path),
            sentinel_options=_tls(parameters, tls=tls) | _sentinel_login(parameters),
        )
    addresses, options = _addresses(hosts, REDIS_PORT), options | _database(parameters, path)
    if kind is Kind.CLUSTER and options.get("db"):
        raise RedisUrlError("a cluster has database 0 only: leave the number after the hosts out")
    if kind is Kind.SINGLE and len(addresses) > 1:
        raise RedisUrlError("several hosts are a cluster (redis+cluster://) or sentinels (redis+sentinel://)")
    return RedisUrl(kind, addresses, options=options)


def _parameters(query: str, kind: Kind, *, tls: bool) -> dict[str, str]:
    parameters = dict(parse_qsl(query, keep_blank_values=True))
    for name in parameters:
        if name not in PARAMETERS:
            raise RedisUrlError(f"a Redis URL has no parameter {name}: it may have {', '.join(PARAMETERS)}")
        if name.startswith("ssl_") and not tls:
            raise RedisUrlError(f"{name} needs TLS: begin the URL with rediss instead of redis")
        if name.startswith("sentinel_") and kind is not Kind.SENTINEL:
            raise RedisUrlError(f"{name} is for sentinels: begin the URL with redis+sentinel or rediss+sentinel")
    return parameters


def _login(login: str) -> dict[str, Any]:
    user, _, password = login.partition(":")
    named = {"username": unquote(user), "password": unquote(password)}
    return {name: value for name, value in named.items() if value}


def _sentinel_login(parameters: dict[str, str]) -> dict[str, Any]:
    named = {name: parameters.get(f"sentinel_{name}") for name in ("username", "password")}
    return {name: value for name, value in named.items() if value}


def _tls(parameters: dict[str, str], *, tls: bool) -> dict[str, Any]:
    if not tls:
        return {}
    files = {name: parameters[name] for name in TLS_FILES if parameters.get(name)}
    for name, file in files.items():
        if not Path(file).is_file():
            raise RedisUrlError(f"{name} names {file}, which is not a file")
    check = parameters.get("ssl_check_hostname", "true")
    if check not in {"true", "false"}:
        raise RedisUrlError("ssl_check_hostname is true or false")
    return {"ssl": True, "ssl_cert_reqs": "required", "ssl_check_hostname": check == "true", **files}


def _database(parameters: dict[str, str], path: str) -> dict[str, Any]:
    text = parameters.get("db", path.strip("/"))
    if not text:
        return {}
    if not text.isdecimal():
        raise RedisUrlError("the database of a Redis URL is a number, as in redis://host:6379/0")
    return {"db": int(text)}


def _addresses(hosts: str, default_port: int) -> tuple[Address, ...]:
    if not hosts:
        raise RedisUrlError("a Redis URL names a host, as in redis://host:6379/0")
    return tuple(_address(host, default_port) for host in hosts.split(","))


def _address(text: str, default_port: int) -> Address:
    if text.startswith("["):  # an IPv6 address, because of its colons
        host, _, port = text[1:].partition("]")
        port = port.removeprefix(":")
    else:
        host, _, port = text.partition(":")
    if not host or (port and not (port.isdecimal() and 0 < int(port) < 65536)):
        raise RedisUrlError("each host of a Redis URL is host or host:port, several separated by commas")
    return host, int(port) if port else default_port
