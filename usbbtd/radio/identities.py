"""Whose the resolvable private addresses are that are heard on the air (Vol 6, Part B, 1.3.2.2).

A bonded peer changes its address as it likes. Users know it by its identity; to connect to it, the address that was
heard last is needed, unless the controller resolves addresses itself: see ``Air.hear``.
"""

from collections.abc import Callable

from usbbtd.bluetooth import ADDRESS_LE_RANDOM
from usbbtd.security.bonds import is_resolvable

#: The most addresses, and identities, that are remembered; the oldest is forgotten for another.
MAX_ADDRESSES, MAX_IDENTITIES = 256, 256

#: Returns the (address, address type) of the bonded peer that made a resolvable private address; None if none did.
Resolve = Callable[[bytes], tuple[bytes, int] | None]


class HeardIdentities:
    """Resolves addresses, each once: it costs an encryption for each bonded peer, and reports come all the time."""

    def __init__(self, resolve: Resolve) -> None:
        self._resolve = resolve
        self._known: dict[bytes, tuple[bytes, int] | None] = {}  # by resolvable private address
        self._last: dict[tuple[bytes, int], bytes] = {}  # by identity

    def identify(self, address: bytes, address_type: int) -> tuple[bytes, int]:
        """Returns the identity of who has this address, which is the same if it is no bonded peer's."""
        if not is_resolvable(address, address_type):
            self._last.pop((address, address_type), None)  # it does not hide any more
            return address, address_type
        if address in self._known:
            identity = self._known[address]
        else:
            identity = self._resolve(address)
            if len(self._known) >= MAX_ADDRESSES:
                del self._known[next(iter(self._known))]
            self._known[address] = identity
        if identity is None:
            return address, address_type
        if self._last.get(identity) != address:
            self._last.pop(identity, None)  # so that it becomes the youngest
            if len(self._last) >= MAX_IDENTITIES:
                del self._last[next(iter(self._last))]
            self._last[identity] = address
        return identity

    def locate(self, address: bytes, address_type: int) -> tuple[bytes, int]:
        """Returns the address that was heard last of an identity, which is the same if it does not use another."""
        heard = self._last.get((address, address_type))
        return (address, address_type) if heard is None else (heard, ADDRESS_LE_RANDOM)

    def forget(self) -> None:
        """Forgets everything: there are other bonds than before."""
        self._known.clear()
        self._last.clear()
