"""The connections to applications, and which addresses they may lead to.

An `app_url` is set by whoever administers a number. Where that is not who runs this machine, private addresses are
refused: at the moment of connecting, so that a name that leads elsewhere later is caught as well.
"""

import socket
from ipaddress import ip_address

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.resolver import ThreadedResolver
from yarl import URL


class PrivateAddressError(OSError):
    """The address is not a public one."""


class PublicOnly(AbstractResolver):
    """Finds the public addresses of a name."""

    def __init__(self) -> None:
        self._all = ThreadedResolver()

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """Return the public addresses of a name; raises PrivateAddressError where it has none."""
        found = [each for each in await self._all.resolve(host, port, family) if is_public(each["host"])]
        if not found:
            raise PrivateAddressError(f"{host} has no public address")
        return found

    async def close(self) -> None:
        """Nothing is open."""
        await self._all.close()


def is_public(address: str) -> bool:
    """Tell whether an address is one of the public internet; what is no address is a name, which is resolved first."""
    try:
        parsed = ip_address(address.partition("%")[0])
    except ValueError:
        return True
    mapped = getattr(parsed, "ipv4_mapped", None)
    return (mapped or parsed).is_global


def check_literal(url: str) -> None:
    """Raise PrivateAddressError where a URL names a private address itself: such are not resolved."""
    host = URL(url).host or ""
    if not is_public(host):
        raise PrivateAddressError(f"{host} is not a public address")


def connector(*, public_only: bool) -> aiohttp.TCPConnector:
    """Return what connects to applications."""
    return aiohttp.TCPConnector(limit=0, resolver=PublicOnly() if public_only else None)
