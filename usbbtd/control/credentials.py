"""Who is at the other end of a Unix socket: unix(7), socket(7)."""

import os
import socket
import struct
from typing import NamedTuple

_SO_PEERGROUPS = 59  # Python's socket module does not have it
_LONGEST = 1024  # that getsockopt takes: 256 groups
_UCRED = struct.Struct("iII")


class Credentials(NamedTuple):
    """Of a process, when it connected."""

    pid: int
    uid: int
    gids: frozenset[int]


def credentials_of(connection: socket.socket) -> Credentials:
    """As the kernel says. Who is in more groups than can be asked for counts as in its first group alone."""
    pid, uid, gid = _UCRED.unpack(connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size))
    try:
        groups = connection.getsockopt(socket.SOL_SOCKET, _SO_PEERGROUPS, _LONGEST)
    except OSError:
        groups = b""
    return Credentials(pid, uid, frozenset([gid, *memoryview(groups).cast("I")]))


def may_control(credentials: Credentials, group: int | None) -> bool:
    """Root, who we are ourselves, and the group."""
    return credentials.uid in (0, os.geteuid()) or group in credentials.gids
