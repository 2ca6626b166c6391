"""Finds out who is at the other end of a Unix socket: unix(7), socket(7)."""

import os
import socket
import struct
from typing import NamedTuple

_SO_PEERGROUPS = 59  # Python's socket module does not have it
_LONGEST = 1024  # the most bytes that Python's getsockopt returns: 256 groups
_UCRED = struct.Struct("iII")


class Credentials(NamedTuple):
    """The ids that a process had when it connected."""

    pid: int
    uid: int
    gids: frozenset[int]


def credentials_of(connection: socket.socket) -> Credentials:
    """Returns who connected, as the kernel says. Of more than 256 supplementary groups none counts, only the gid."""
    pid, uid, gid = _UCRED.unpack(connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size))
    try:
        groups = connection.getsockopt(socket.SOL_SOCKET, _SO_PEERGROUPS, _LONGEST)
    except OSError:
        groups = b""
    return Credentials(pid, uid, frozenset([gid, *memoryview(groups).cast("I")]))


def may_act(credentials: Credentials) -> bool:
    """Returns whether a process may change something: root alone. Members of the group may look, and no more."""
    return credentials.uid == 0


def may_control(credentials: Credentials, group: int | None) -> bool:
    """Returns whether a process may use the socket: root, our own user, and members of ``group``."""
    return credentials.uid in (0, os.geteuid()) or group in credentials.gids
