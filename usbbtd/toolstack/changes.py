"""Changes of xenstore as data: planned first, then shown or made, both in one transaction."""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from usbbtd.xen.transaction import Transaction


class Write(NamedTuple):
    """``permissions``: the owner's first, as in ``("n3", "r7")``; None for a node that is there and keeps its own."""

    path: str
    value: str
    permissions: tuple[str, ...] | None = None

    def __str__(self) -> str:
        permissions = f"  ({','.join(self.permissions)})" if self.permissions else ""
        return f'write  {self.path} = "{self.value}"{permissions}'


class Remove(NamedTuple):
    """With all below."""

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
        # A new node has the permissions of the one above it: what was set there is not set again.
        if change.permissions and given.get(_above(change.path)) != change.permissions:
            transaction.set_permissions(change.path, change.permissions)
        if change.permissions:
            given[change.path] = change.permissions


def make_directory(
    transaction: Transaction, path: str, top: str, above: tuple[str, ...], permissions: tuple[str, ...]
) -> Iterator[Change]:
    """A new directory in the place of what is there; ``above`` is for those that are missing between ``top`` and it."""
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
    """A directory, if it is there, and with it those above it, below ``top``, that are empty then."""
    if transaction.read(path) is None:
        return
    while (parent := _above(path)) != top and transaction.list(parent) == [path.rpartition("/")[2]]:
        path = parent
    yield Remove(path)


def _above(path: str) -> str:
    return path.rpartition("/")[0]
