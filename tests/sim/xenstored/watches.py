"""Watches: who is told of which change, in which words."""

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import NamedTuple, Protocol

from tests.sim.xenstored.tree import PRIVILEGED, SPECIAL_PATHS, Change, allows, canonical, parent_of
from tests.sim.xenstored.wire import StoreError


class WatchOwner(Protocol):
    """A connection."""

    @property
    def domid(self) -> int: ...

    def send_event(self, path: str, token: str) -> None: ...


class SetWatch(NamedTuple):
    number: int  # in the order in which they were set
    watcher: WatchOwner
    path: str
    token: str
    prefix: int  # how many characters of a path the watcher does not see: it named its node relative to its domain's

    def tell(self, path: str) -> None:
        self.watcher.send_event(path[self.prefix :], self.token)


class Watches:
    def __init__(self, limit: int) -> None:
        """`limit`: for each unprivileged domain."""
        self._limit = limit
        self._by_path: dict[str, list[SetWatch]] = {}
        self._next_number = 0
        self.counts: Counter[int] = Counter()  # by domain

    def add(self, watcher: WatchOwner, path: str, token: str) -> SetWatch:
        """The caller answers the request, then tells the watch its own path once. StoreError EINVAL, EEXIST, ENOSPC."""
        absolute = canonical(path, watcher.domid, special=True)
        watch = SetWatch(self._next_number, watcher, absolute, token, len(absolute) - len(path))
        if self._find(watcher, absolute, token):
            raise StoreError("EEXIST")
        if watcher.domid != PRIVILEGED and self.counts[watcher.domid] >= self._limit:
            raise StoreError("ENOSPC")
        self._next_number += 1
        self._by_path.setdefault(absolute, []).append(watch)
        self.counts[watcher.domid] += 1
        return watch

    def remove(self, watcher: WatchOwner, path: str, token: str) -> None:
        """StoreError ENOENT."""
        watch = self._find(watcher, canonical(path, watcher.domid, special=True), token)
        if watch is None:
            raise StoreError("ENOENT")
        self._drop(watch)

    def remove_all(self, watcher: WatchOwner) -> None:
        for watch in [watch for watches in self._by_path.values() for watch in watches if watch.watcher is watcher]:
            self._drop(watch)

    def fire(self, changes: Iterable[Change]) -> None:
        for change in changes:
            told = [watch for path in _watched_paths(change) for watch in self._by_path.get(path, ())]
            told.sort(key=lambda watch: watch.number)
            for watch in told:
                if any(allows(permissions, watch.watcher.domid, "r") for permissions in change.readable_by):
                    watch.tell(change.path)

    def _find(self, watcher: WatchOwner, path: str, token: str) -> SetWatch | None:
        for watch in self._by_path.get(path, ()):
            if watch.watcher is watcher and watch.token == token:
                return watch
        return None

    def _drop(self, watch: SetWatch) -> None:
        watches = self._by_path[watch.path]
        watches.remove(watch)
        if not watches:
            del self._by_path[watch.path]
        self.counts[watch.watcher.domid] -= 1


def _watched_paths(change: Change) -> Iterator[str]:
    path = change.path
    yield path
    while change.subtree and path != "/" and path not in SPECIAL_PATHS:
        path = parent_of(path)
        yield path
