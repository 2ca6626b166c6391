from typing import Any

import pytest

from tests.sim.xenstored.tree import Change, Permission
from tests.sim.xenstored.watches import Watches
from tests.sim.xenstored.wire import StoreError

ALL_READ = ((Permission(0, "r"),),)


class Watcher:
    def __init__(self, domid: int, log: list[Any]) -> None:
        self.domid, self.log = domid, log

    def send_event(self, path: str, token: str) -> None:
        self.log.append((self.domid, path, token))


@pytest.fixture
def log() -> list[Any]:
    return []


def test_a_change_is_told_upwards_in_the_order_of_setting(log: list[Any]) -> None:
    watches = Watches(128)
    for token, path in (("b", "/a/b"), ("root", "/"), ("a", "/a"), ("c", "/a/b/c"), ("x", "/x")):
        watches.add(Watcher(0, log), path, token)
    watches.fire([Change("/a/b", True, ALL_READ)])
    assert [token for _, _, token in log] == ["b", "root", "a"]
    log.clear()
    watches.fire([Change("/a/b", False, ALL_READ)])
    assert [token for _, _, token in log] == ["b"]


def test_relative_watches_get_relative_paths(log: list[Any]) -> None:
    watches = Watches(128)
    watches.add(Watcher(3, log), "device", "t").tell("/local/domain/3/device")
    watches.fire([Change("/local/domain/3/device/vl2cap/0", True, ALL_READ)])
    assert log == [(3, "device", "t"), (3, "device/vl2cap/0", "t")]


def test_events_only_for_who_may_read(log: list[Any]) -> None:
    watches = Watches(128)
    for domid in (0, 1, 2, 3):
        watches.add(Watcher(domid, log), "/a", "t")
    watches.fire([Change("/a", True, ((Permission(1, "n"), Permission(2, "r")), (Permission(1, "n"),)))])
    assert [domid for domid, _, _ in log] == [0, 1, 2]


def test_refusals_and_removal(log: list[Any]) -> None:
    watches = Watches(2)
    watcher, other = Watcher(1, log), Watcher(2, log)
    watches.add(watcher, "/a", "t")
    with pytest.raises(StoreError, match="EEXIST"):
        watches.add(watcher, "/a", "t")
    watches.add(watcher, "/a", "u")
    watches.add(other, "/a", "t")
    with pytest.raises(StoreError, match="ENOSPC"):
        watches.add(watcher, "/b", "t")
    with pytest.raises(StoreError, match="ENOENT"):
        watches.remove(other, "/a", "u")
    with pytest.raises(StoreError, match="EINVAL"):
        watches.add(other, "//", "t")
    watches.remove(watcher, "/a", "u")
    watches.remove_all(watcher)
    watches.fire([Change("/a", True, ALL_READ)])
    assert log == [(2, "/a", "t")]
    assert watches.counts[1] == 0
