"""Whose fault is it? The two answers that every core gives."""


class ProtocolError(Exception):
    """A rule of a protocol was broken."""


class LocalProtocolError(ProtocolError):
    """Our own side asked for what the protocol does not allow now: a bug in the caller."""


class RemoteProtocolError(ProtocolError):
    """The peer sent what it may not. Costs the peer its connection and nobody else anything."""
