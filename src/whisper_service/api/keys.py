"""The API keys, and who a request comes from."""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Iterable
from ipaddress import IPv6Address, ip_address, ip_network
from typing import Final

from pydantic import SecretStr

from whisper_service.settings import Settings, read_key_file

NO_KEY: Final = (
    "You didn't provide an API key. Send one in the Authorization header: "
    "'Authorization: Bearer YOUR_KEY'."
)
WRONG_KEY: Final = "Incorrect API key provided: it is none of this service's keys."

_DIGEST: Final = "sha256"
_IPV6_NETWORK_BITS: Final = 64  # what one customer gets; its addresses are no users of their own


class KeyRing:
    """The configured keys, as digests under a secret of this process.

    The digests are what is compared: they are of one length, and how long a comparison takes tells
    nothing about a key that its caller could use.
    """

    def __init__(self, keys: Iterable[SecretStr]) -> None:
        self._secret = secrets.token_bytes(32)
        unique = dict.fromkeys(key.get_secret_value() for key in keys)
        self._digests = {f"key-{number}": self._digest(key) for number, key in enumerate(unique, 1)}

    @classmethod
    def of(cls, settings: Settings) -> KeyRing:
        """The keys of the settings, then those of their file."""
        path = settings.api_keys_file
        return cls((*settings.api_keys, *(read_key_file(path) if path else ())))

    def __bool__(self) -> bool:
        return bool(self._digests)

    def name_of(self, offered: str) -> str | None:
        """The name, `key-1` and so on, under which a key may be shown; None: it is no key of ours.

        Every key is compared, so that the time does not tell which of them it is either.
        """
        digest = self._digest(offered)
        found = None
        for name, known in self._digests.items():
            if hmac.compare_digest(digest, known):
                found = name
        return found

    def _digest(self, key: str) -> bytes:
        return hmac.digest(self._secret, key.encode("utf-8", "surrogatepass"), _DIGEST)


def bearer_key(authorization: str | None) -> str | None:
    """The key in an `Authorization: Bearer …` header; None: there is none."""
    scheme, _, key = (authorization or "").partition(" ")
    return key.strip() or None if scheme.lower() == "bearer" else None


def network_of(address: str | None) -> str:
    """Whom an address stands for: itself, or the network that an IPv6 customer has."""
    try:
        parsed = ip_address((address or "").partition("%")[0])
    except ValueError:
        return address or "unknown"
    if isinstance(parsed, IPv6Address):
        if parsed.ipv4_mapped:
            return str(parsed.ipv4_mapped)
        return str(ip_network((parsed, _IPV6_NETWORK_BITS), strict=False))
    return str(parsed)
