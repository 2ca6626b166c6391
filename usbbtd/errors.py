"""The two errors that every core raises: one is our own fault, the other the peer's."""


class ProtocolError(Exception):
    """A rule of a protocol was broken."""


class LocalProtocolError(ProtocolError):
    """Our own side asked for what the protocol does not allow now: a bug in the caller."""


class RemoteProtocolError(ProtocolError):
    """The peer sent what it may not send. It loses its connection; nobody else loses anything."""
