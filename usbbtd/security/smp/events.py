"""The events of a pairing of an LE link, and its result. None shows a key when it is printed."""

from typing import NamedTuple


class LegacyKey(NamedTuple):
    """Is a long term key of legacy pairing with what names it in HCI (Vol 3, Part H, 2.4.4)."""

    ltk: bytes
    diversifier: int
    random: int

    def __repr__(self) -> str:
        return "LegacyKey(...)"


class SmpResult(NamedTuple):
    """Says what a pairing reached. Keys are of 16 octets, least significant first; those beyond ``key_size`` are zero.

    ``authenticated``: against a man in the middle. ``bonded``: both sides want to keep keys; if not, there are none but
    that of this connection. ``ltk``: of Secure Connections, for both roles. ``our_key``: legacy, which the peer names
    when we are the peripheral. ``peer_key``: legacy, with which we encrypt when we are the central. ``irk``,
    ``identity_address`` and ``identity_type`` (ADDRESS_LE_PUBLIC or ADDRESS_LE_RANDOM) are the peer's; None if it has
    not given them, or what cannot be right.
    """

    secure_connections: bool
    authenticated: bool
    key_size: int
    bonded: bool
    ltk: bytes | None
    our_key: LegacyKey | None
    peer_key: LegacyKey | None
    irk: bytes | None
    identity_address: bytes | None
    identity_type: int | None

    def __repr__(self) -> str:
        return (
            f"SmpResult(secure_connections={self.secure_connections}, authenticated={self.authenticated}, "
            f"key_size={self.key_size}, bonded={self.bonded}, has_irk={self.irk is not None})"
        )


class SmpAsked(NamedTuple):
    """The peer wants a pairing, or, if we are the central, encryption. Says what it asks for.

    ``io_capability``: None in a security request, which does not say it.
    """

    bonding: bool
    mitm: bool
    secure_connections: bool
    io_capability: int | None


class SmpPrompt(NamedTuple):
    """A person is asked. ``kind``, ``value``: as in ``usbbtd.security.terms``."""

    kind: int
    value: int | None

    def __repr__(self) -> str:
        return f"SmpPrompt(kind={self.kind})"


class SmpPromptEnded(NamedTuple):
    """The last SmpPrompt needs no answer any more, and what it showed is to be shown no longer."""


class SmpEncrypt(NamedTuple):
    """The central's link is to be encrypted with this key, with the random number and the diversifier 0."""

    key: bytes

    def __repr__(self) -> str:
        return "SmpEncrypt(...)"


class SmpPaired(NamedTuple):
    """The pairing has succeeded, and the link is encrypted with its key."""

    result: SmpResult


class SmpFailed(NamedTuple):
    """The pairing, or a security request, has failed; nothing of it is kept.

    ``reason``: of the Pairing Failed that was sent or received (``wire.PairingReason``); None if there was none: the
    procedure timed out. ``by_peer``: whether the peer sent it. ``text``: for people.
    """

    reason: int | None
    by_peer: bool
    text: str


SmpEvent = SmpAsked | SmpPrompt | SmpPromptEnded | SmpEncrypt | SmpPaired | SmpFailed
