"""Requests on nodes: payload in, answer out. All raise StoreError."""

import re
from collections.abc import Callable

from tests.sim.xenstored import wire
from tests.sim.xenstored.tree import Permission, Permissions, TreeTransaction, canonical
from tests.sim.xenstored.wire import StoreError

_PERMISSION = re.compile(r"([nrwb])(\d{1,5})")


def _first(payload: bytes, domid: int, *, special: bool = False) -> tuple[str, bytes]:
    """A path and what follows its NUL."""
    path, nul, rest = payload.partition(b"\0")
    if not nul:
        raise StoreError("EINVAL")
    return canonical(wire.text(path), domid, special=special), rest


def _directory(transaction: TreeTransaction, domid: int, payload: bytes) -> bytes:
    node = transaction.directory(canonical(wire.one_string(payload), domid))
    return b"".join(child.encode() + b"\0" for child in node.children)


def _directory_part(transaction: TreeTransaction, domid: int, payload: bytes) -> bytes:
    """Path and offset: the node's generation, then as many whole names as fit; the last part ends with an empty one."""
    if len(wire.strings(payload)) != 2:
        raise StoreError("EINVAL")
    path, rest = _first(payload, domid)
    node = transaction.directory(path)
    number = rest[:-1].decode("ascii", "replace")
    if not number.isdecimal():
        raise StoreError("EINVAL")
    generation = b"%d\0" % node.generation
    names = b"".join(child.encode() + b"\0" for child in node.children)[int(number) :]
    room = wire.PAYLOAD_MAX - len(generation) - 1
    if len(names) > room:
        return generation + names[: names.rindex(b"\0", 0, room) + 1]
    return generation + names + b"\0"


def _read(transaction: TreeTransaction, domid: int, payload: bytes) -> bytes:
    return transaction.read(canonical(wire.one_string(payload), domid))


def _get_permissions(transaction: TreeTransaction, domid: int, payload: bytes) -> bytes:
    permissions = transaction.permissions(canonical(wire.one_string(payload), domid, special=True))
    return b"".join(b"%s%d\0" % (access.encode(), owner) for owner, access in permissions)


def _write(transaction: TreeTransaction, domid: int, payload: bytes) -> bytes:
    path, value = _first(payload, domid)
    transaction.write(path, value)
    return b"OK\0"


def _mkdir(transaction: TreeTransaction, domid: int, payload: bytes) -> bytes:
    transaction.mkdir(canonical(wire.one_string(payload), domid))
    return b"OK\0"


def _remove(transaction: TreeTransaction, domid: int, payload: bytes) -> bytes:
    transaction.remove(canonical(wire.one_string(payload), domid))
    return b"OK\0"


def _set_permissions(transaction: TreeTransaction, domid: int, payload: bytes) -> bytes:
    path, rest = _first(payload, domid, special=True)
    transaction.set_permissions(path, parse_permissions([wire.text(item) for item in wire.strings(rest)]))
    return b"OK\0"


def parse_permissions(items: list[str]) -> Permissions:
    """["n3", "r0"]: the owner and the access of all others, then single domains. StoreError EINVAL."""
    matches = [_PERMISSION.fullmatch(item) for item in items]
    if not matches:
        raise StoreError("EINVAL")
    permissions = []
    for match in matches:
        if match is None:
            raise StoreError("EINVAL")
        permissions.append(Permission(int(match[2]), match[1]))
    return tuple(permissions)


ON_NODES: dict[int, Callable[[TreeTransaction, int, bytes], bytes]] = {
    wire.DIRECTORY: _directory,
    wire.DIRECTORY_PART: _directory_part,
    wire.READ: _read,
    wire.GET_PERMS: _get_permissions,
    wire.WRITE: _write,
    wire.MKDIR: _mkdir,
    wire.RM: _remove,
    wire.SET_PERMS: _set_permissions,
}
