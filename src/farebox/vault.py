"""Secrets of numbers at rest: sealed before they reach the database, opened in memory (Fernet: AES-128-CBC and HMAC).

With `FAREBOX_ENCRYPTION_KEYS` (comma-separated; the first seals, each opens) what is stored, and every dump of it, says
nothing without the keys. To rotate: put a new key in front, restart or SIGHUP, `farebox rekey`, then take the old one
away. What was stored before keys were given stays readable, and `farebox rekey` seals it.
"""

from cryptography.fernet import Fernet, InvalidToken, MultiFernet

PREFIX = "sealed:"  # no token of WhatsApp begins like this


class VaultError(Exception):
    """A secret can not be opened: its key is not among those given."""


class Vault:
    """Seals and opens secrets; without keys it stores them as they are."""

    def __init__(self, keys: str = "") -> None:
        """Take the keys; raises ValueError where one is no key."""
        self._fernet = MultiFernet([Fernet(key.strip()) for key in keys.split(",")]) if keys.strip() else None

    def seal(self, secret: str | None) -> str | None:
        """Return what is stored of a secret."""
        if secret is None or self._fernet is None:
            return secret
        return PREFIX + self._fernet.encrypt(secret.encode()).decode()

    def open(self, stored: str | None) -> str | None:
        """Return a stored secret; raises VaultError."""
        if stored is None or not stored.startswith(PREFIX):
            return stored
        if self._fernet is None:
            raise VaultError("it is sealed, and FAREBOX_ENCRYPTION_KEYS is not set")
        try:
            return self._fernet.decrypt(stored.removeprefix(PREFIX)).decode()
        except InvalidToken:
            raise VaultError("none of FAREBOX_ENCRYPTION_KEYS opens it") from None
