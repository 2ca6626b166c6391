"""Changes of xenstore as data: they are planned first, and then shown or made, in one transaction."""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from usbbtd.xen.transaction import Transaction


class Write(NamedTuple):
    """Writes a node. ``permissions``: the owner's first, as in ``("n3", "r7")``; None if the node keeps its own."""

    path: str
    value: str
    permissions: tuple[str, ...] | None = None

    def __str__(self) -> str:
        permissions = f"  ({','.join(self.permissions)})" if self.permissions else ""
        return f'write  {self.path} = "{self.value}"{permissions}'


class Remove(NamedTuple):
    """Removes a node and all below it."""

    path: str

    def __str__(self) -> str:
        return f"remove {self.path}"


Change = Write | Remove


def apply(transaction: Transaction, changes: Iterable[Change]) -> None:
    """Makes the changes, in order."""
    given: dict[str, tuple[str, ...]] = {}
    for change in changes:
        if isinstance(change, Remove):
            transaction.remove(change.path)
            continue
        transaction.write(change.path, change.value)
        # A new node gets the permissions of the one above it: those need not be set again.
        if change.permissions and given.get(_above(change.path)) != change.permissions:
            transaction.set_permissions(change.path, change.permissions)
        if change.permissions:
            given[change.path] = change.permissions


def make_directory(
    transaction: Transaction, path: str, top: str, above: tuple[str, ...], permissions: tuple[str, ...]
) -> Iterator[Change]:
    """Yields the changes that make a new directory, in the place of any that is there.

    Directories that are missing between ``top`` and it are made with the permissions ``above``.
    """
    if transaction.read(path) is not None:
        yield Remove(path)
    missing = []
    parent = _above(path)
    while parent != top and transaction.read(parent) is None:
        missing.append(Write(parent, "", above))
        parent = _above(parent)
    yield from reversed(missing)
    yield Write(path, "", permissions)


def remove_directory(transaction: Transaction, path: str, top: str) -> Iterator[Change]:
    """Yields the change that removes a directory, if it is there.

    The directories above it, below ``top``, are removed with it if they would be empty.
    """
    if transaction.read(path) is None:
        return
    while (parent := _above(path)) != top and transaction.list(parent) == [path.rpartition("/")[2]]:
        path = parent
    yield Remove(path)


def _above(path: str) -> str:
    return path.rpartition("/")[0]
