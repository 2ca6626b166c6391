"""Tells dom0 why a device was closed, by the node that Linux's xenbus drivers write, too."""

import contextlib

from usbbtd.nodes import ERRORS, error_directory, error_path
from usbbtd.xen.error import XenError
from usbbtd.xen.store import Store
from usbbtd.xen.transaction import Transaction

#: Octets of a reason; xenstored lets a node hold 2 KiB.
_LENGTH = 512


class ErrorNode:
    """The node ``error/<path>/error`` in our own domain's directory: "<errno> <message>".

    libxl lets every domain write under ``error``. If it is forbidden, the node is not written, and all else goes on. A
    node that an earlier process has left is removed as if it was ours.
    """

    def __init__(self, store: Store, path: str) -> None:
        self._store = store
        self._path = error_path(path)
        self._directory = error_directory(path)
        self._written = True

    async def write(self, code: int, reason: str) -> None:
        text = reason.encode(errors="backslashreplace")[:_LENGTH].decode(errors="ignore")
        with contextlib.suppress(XenError):
            await self._store.write(self._path, f"{code} {text}")
            self._written = True

    async def remove(self) -> None:
        """Removes the node, if there may be one. Idempotent."""
        if self._written:
            self._written = False
            with contextlib.suppress(XenError):
                await self._store.transaction(self._remove)

    def _remove(self, transaction: Transaction) -> None:
        """Removes the node, with those above it that are empty then: a domain has a limited number of nodes."""
        path = self._directory
        if transaction.read(path) is None:
            return
        while path != ERRORS:
            transaction.remove(path)
            path = path.rpartition("/")[0]
            if transaction.list(path):
                return
