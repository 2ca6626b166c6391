"""The requests to xenstore, each in one blocking call."""

import errno
from collections.abc import Sequence
from typing import Any

from usbbtd.abi._xen import ffi, lib
from usbbtd.xen.error import XenError, checked_domid

_PERMISSIONS = {"n": 0, "r": lib.XS_PERM_READ, "w": lib.XS_PERM_WRITE, "b": lib.XS_PERM_READ | lib.XS_PERM_WRITE}
_LETTERS = {bits: letter for letter, bits in _PERMISSIONS.items()}


def encode_path(path: str) -> bytes:
    """Encodes a path for C. Raises XenError if it would be another path there."""
    if "\0" in path:
        raise XenError(errno.EINVAL, f"no xenstore path: {path!r}")
    return path.encode()


def decode(raw: bytes) -> str:
    """Decodes a string that another domain may have written: octets that are not UTF-8 become \\xNN."""
    return raw.decode(errors="backslashreplace")


class Transaction:
    """A transaction, whose ``identity`` is from xs_transaction_start; with the identity 0, each call is by itself.

    Paths are absolute, or relative to the own domain's directory. All methods raise XenError, which names the path.
    """

    def __init__(self, handle: Any, identity: int = 0) -> None:
        self._handle = handle
        self._identity = identity

    def read(self, path: str) -> str | None:
        """Returns the value of a node; None if there is no such node."""
        length = ffi.new("unsigned int *")
        value = lib.xs_read(self._handle, self._identity, encode_path(path), length)
        if value == ffi.NULL:
            self._missing(f"cannot read {path}")
            return None
        with ffi.gc(value, lib.free):
            return decode(ffi.buffer(value, length[0])[:])

    def write(self, path: str, value: str) -> None:
        """Sets a node's value. Makes the node and its parents if they are missing."""
        data = value.encode()
        if not lib.xs_write(self._handle, self._identity, encode_path(path), data, len(data)):
            raise XenError.last(f"cannot write {path}")

    def remove(self, path: str) -> None:
        """Removes a node and all below it. Does nothing if there is no such node."""
        if not lib.xs_rm(self._handle, self._identity, encode_path(path)):
            self._missing(f"cannot remove {path}")

    def permissions(self, path: str) -> list[str] | None:
        """Returns a node's permissions, the owner's first, as in ``["n3", "r0"]``; None if there is no such node."""
        count = ffi.new("unsigned int *")
        entries = lib.xs_get_permissions(self._handle, self._identity, encode_path(path), count)
        if entries == ffi.NULL:
            self._missing(f"cannot read the permissions of {path}")
            return None
        with ffi.gc(entries, lib.free):
            return [f"{_LETTERS[entries[i].perms & 3]}{entries[i].id}" for i in range(count[0])]

    def set_permissions(self, path: str, permissions: Sequence[str]) -> None:
        """Sets a node's permissions: the first entry names the owner and what all others may do."""
        entries = ffi.new("struct xs_permissions[]", len(permissions))
        for entry, text in zip(entries, permissions, strict=True):
            entry.perms, entry.id = _PERMISSIONS[text[0]], checked_domid(int(text[1:]))
        if not lib.xs_set_permissions(self._handle, self._identity, encode_path(path), entries, len(permissions)):
            raise XenError.last(f"cannot set the permissions of {path} to {', '.join(permissions)}")

    def list(self, path: str) -> list[str] | None:
        """Returns the names of a node's children; None if there is no such node."""
        count = ffi.new("unsigned int *")
        names = lib.xs_directory(self._handle, self._identity, encode_path(path), count)
        if names == ffi.NULL:
            self._missing(f"cannot list {path}")
            return None
        with ffi.gc(names, lib.free):
            return [decode(ffi.string(names[index])) for index in range(count[0])]

    @staticmethod
    def _missing(what: str) -> None:
        if ffi.errno != errno.ENOENT:
            raise XenError.last(what)
