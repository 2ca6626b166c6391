"""Rules of docs/misc/xenstore.txt and of xenstored 4.17 (core.c, transaction.c)."""

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.sim.xenstored.tree import Permission, Quota, Tree, TreeTransaction, allows, canonical
from tests.sim.xenstored.wire import StoreError


def permissions(*items: Any) -> tuple[Any, ...]:
    return tuple(Permission(int(item[1:]), item[0]) for item in items)


def do(store: Tree, domid: int, method: str, *arguments: Any) -> Any:
    transaction = TreeTransaction(store, domid)
    result = getattr(transaction, method)(*arguments)
    return transaction.commit() if result is None else result


@pytest.fixture
def store() -> Tree:
    """Domains 1 and 2 with a home directory each: readable for the domain, and `data` its own."""
    store = Tree(Quota(nodes=8, permissions=3, node_size=200, transaction_nodes=12), domains={0, 1, 2})
    for domid in (1, 2):
        home = f"/local/domain/{domid}"
        do(store, 0, "write", home, b"")
        do(store, 0, "set_permissions", home, permissions("n0", f"r{domid}"))
        do(store, 0, "write", f"{home}/data", b"")
        do(store, 0, "set_permissions", f"{home}/data", permissions(f"n{domid}"))
    return store


def refused(store: Tree, domid: int, method: str, *arguments: Any) -> str:
    with pytest.raises(StoreError) as caught:
        do(store, domid, method, *arguments)
    return caught.value.name


def test_missing_parents_are_made_with_the_parents_permissions_and_the_makers_ownership(store: Tree) -> None:
    do(store, 1, "write", "/local/domain/1/data/a/b", b"x")
    assert do(store, 1, "read", "/local/domain/1/data/a/b") == b"x"
    assert store.nodes["/local/domain/1/data/a"].permissions == permissions("n1")
    assert store.nodes["/local/domain/1/data"].children == ("a",)
    do(store, 0, "set_permissions", "/local/domain/1/data", permissions("n1", "r2"))
    do(store, 0, "write", "/local/domain/1/data/c", b"")
    assert store.nodes["/local/domain/1/data/c"].permissions == permissions("n1", "r2")  # dom0 makes for the owner


def test_who_may_not_see_a_node_learns_nothing(store: Tree) -> None:
    do(store, 1, "write", "/local/domain/1/data/there", b"x")
    assert refused(store, 2, "read", "/local/domain/1/data/there") == "EACCES"
    assert refused(store, 2, "read", "/local/domain/1/data/not") == "EACCES"
    assert refused(store, 2, "write", "/local/domain/1/data/not", b"") == "EACCES"
    assert refused(store, 1, "read", "/local/domain/1/data/not") == "ENOENT"
    assert refused(store, 0, "read", "/nowhere/at/all") == "ENOENT"


def test_a_domain_cannot_make_backend_nodes_in_its_own_home(store: Tree) -> None:
    assert refused(store, 1, "write", "/local/domain/1/backend/vl2cap/2/0/state", b"1") == "EACCES"
    do(store, 0, "write", "/local/domain/1/backend/vl2cap/2/0", b"")
    do(store, 0, "set_permissions", "/local/domain/1/backend/vl2cap/2/0", permissions("n1", "r2"))
    do(store, 1, "write", "/local/domain/1/backend/vl2cap/2/0/state", b"2")
    assert do(store, 2, "read", "/local/domain/1/backend/vl2cap/2/0/state") == b"2"
    assert refused(store, 2, "write", "/local/domain/1/backend/vl2cap/2/0/state", b"6") == "EACCES"


def test_permissions_of_permissions(store: Tree) -> None:
    path = "/local/domain/1/data"
    assert refused(store, 2, "set_permissions", path, permissions("n2")) == "EACCES"
    assert refused(store, 1, "set_permissions", path, permissions("n2")) == "EPERM"  # its own, but given away
    assert refused(store, 0, "set_permissions", path, permissions("n9")) == "ENOENT"  # no such domain
    assert refused(store, 1, "set_permissions", path, permissions("n1", "r2", "r0", "r9")) == "ENOSPC"
    do(store, 1, "set_permissions", path, permissions("n1", "w2"))
    do(store, 2, "write", path, b"x")
    assert refused(store, 2, "read", path) == "EACCES"
    assert refused(store, 2, "set_permissions", path, permissions("n1", "b2")) == "EACCES"  # write does not own
    do(store, 1, "set_permissions", path, permissions("b1"))
    assert do(store, 2, "read", path) == b"x"


def test_remove(store: Tree) -> None:
    for name in ("a/b", "a/c", "d"):
        do(store, 1, "write", f"/local/domain/1/data/{name}", b"")
    changes = do(store, 1, "remove", "/local/domain/1/data/a")
    told = [(change.path.removeprefix("/local/domain/1/data/"), change.subtree) for change in changes]
    assert told == [("a/b", False), ("a/c", False), ("a", True)]  # the deepest first, and only the root is told upwards
    assert store.nodes["/local/domain/1/data"].children == ("d",)
    do(store, 1, "remove", "/local/domain/1/data/a")  # no error
    assert refused(store, 1, "remove", "/local/domain/1/data/x/y") == "ENOENT"
    assert refused(store, 0, "remove", "/") == "EINVAL"


def test_very_deep_trees(store: Tree) -> None:
    path = "/x" * 1500
    do(store, 0, "write", path, b"")
    assert len(do(store, 0, "remove", "/x")) == 1500


def test_quotas_hold_for_domains_but_not_for_dom0(store: Tree) -> None:
    for number in range(7):
        do(store, 1, "write", f"/local/domain/1/data/{number}", b"")
    assert store.node_counts[1] == 8
    assert refused(store, 1, "mkdir", "/local/domain/1/data/more") == "ENOSPC"
    do(store, 0, "write", "/local/domain/1/data/more", b"")
    assert refused(store, 2, "write", "/local/domain/2/data", bytes(200)) == "ENOSPC"
    do(store, 0, "write", "/local/domain/2/data", bytes(4000))


def test_a_transaction_over_quota_cannot_be_committed(store: Tree) -> None:
    transaction = TreeTransaction(store, 1)
    transaction.write("/local/domain/1/data/a", b"")
    with pytest.raises(StoreError, match="ENOSPC"):
        transaction.write("/local/domain/1/data/a", bytes(300))
    with pytest.raises(StoreError, match="ENOMEM"):
        transaction.commit()
    assert "/local/domain/1/data/a" not in store.nodes


def test_a_transaction_that_touches_too_many_nodes(store: Tree) -> None:
    transaction = TreeTransaction(store, 1)
    for number in range(11):  # and their parent
        with pytest.raises(StoreError, match="ENOENT"):
            transaction.read(f"/local/domain/1/{number}")
    with pytest.raises(StoreError, match="ENOSPC"):
        transaction.read("/local/domain/1/11")


@pytest.mark.parametrize(
    ("inside", "outside", "conflict"),
    [
        (("read", "data"), ("write", "data", b"2"), True),
        (("write", "data", b"1"), ("write", "data", b"2"), True),  # a write looks at the node first
        (("write", "data/new", b"1"), ("write", "data/other", b"2"), True),  # both change the parent
        (("mkdir", "data/new"), ("remove", "data"), True),
        (("write", "data", b"1"), ("write", "elsewhere", b"2"), False),
        (("read", "data"), ("read", "data"), False),
    ],
)
def test_conflicts(
    store: Tree,
    inside: tuple[str, str, bytes] | tuple[str, str],
    outside: tuple[str, str, bytes] | tuple[str, str],
    conflict: bool,
) -> None:
    def at_home(call: tuple[str, str, bytes] | tuple[str, str]) -> tuple[str, str, bytes] | tuple[str, str]:
        return call[0], f"/local/domain/1/{call[1]}", *call[2:]

    transaction = TreeTransaction(store, 1)
    method, *arguments = at_home(inside)
    getattr(transaction, method)(*arguments)
    do(store, 0, *at_home(outside))
    if conflict:
        with pytest.raises(StoreError, match="EAGAIN"):
            transaction.commit()
    else:
        transaction.commit()


def test_a_transaction_sees_itself_and_others_see_it_at_once(store: Tree) -> None:
    transaction = TreeTransaction(store, 1)
    transaction.write("/local/domain/1/data/a", b"1")
    transaction.remove("/local/domain/1/data/a")
    transaction.write("/local/domain/1/data/b", b"2")
    assert transaction.directory("/local/domain/1/data").children == ("b",)
    assert not store.nodes["/local/domain/1/data"].children
    assert [change.path for change in transaction.commit()] == ["/local/domain/1/data/b"]  # a was never there
    assert store.nodes["/local/domain/1/data"].children == ("b",)


def test_a_domain_is_forgotten(store: Tree) -> None:
    do(store, 0, "set_permissions", "/local/domain/2/data", permissions("n2", "r1"))
    do(store, 1, "write", "/local/domain/1/data/x", b"")
    store.domains.discard(1)
    assert "/local/domain/1/data" in [change.path for change in store.forget_domain(1)]
    assert store.node_counts[1] == 0
    assert "/local/domain/1/data/x" not in store.nodes
    assert store.nodes["/local/domain/2/data"].permissions == permissions("n2")


@pytest.mark.parametrize(
    "path", ["", "/a//b", "/a/", "a b", "/ä", "a\0", "@introduceDomain", "/" + "a" * 3072, "a" * 2049]
)
def test_paths_that_cannot_be(path: str) -> None:
    with pytest.raises(StoreError, match="EINVAL"):
        canonical(path, 1)


def test_paths() -> None:
    assert canonical("data/x", 5) == "/local/domain/5/data/x"
    assert canonical("/", 5) == "/"
    assert canonical("@releaseDomain", 5, special=True) == "@releaseDomain"
    assert canonical("a" * 2048, 1) == "/local/domain/1/" + "a" * 2048


def test_access_letters() -> None:
    for access, reads, writes in (("n", False, False), ("r", True, False), ("w", False, True), ("b", True, True)):
        assert allows(permissions("n1", f"{access}2"), 2, "r") is reads
        assert allows(permissions(f"{access}1"), 2, "w") is writes
    assert allows(permissions("n1", "n2"), 0, "w")
    assert not allows(permissions("b1", "n2"), 2, "r")


def outcome(method: Callable[..., Any], *arguments: Any) -> str | None:
    """None, or the name of the error."""
    try:
        method(*arguments)
    except StoreError as error:
        return error.name
    return None


_paths = st.sampled_from(["data", "data/a", "data/a/b", "data/a/c", "data/d"])
_steps = st.lists(st.tuples(st.sampled_from(["write", "mkdir", "remove", "read"]), _paths), max_size=12)


@given(_steps, _steps)
def test_whatever_commits_leaves_a_tree(first: list[tuple[str, str]], second: list[tuple[str, str]]) -> None:
    """Every node's parent is there and names it, children exist, and counts are right."""
    store = Tree(Quota(), domains={0, 1})
    do(store, 0, "write", "/local/domain/1", b"")
    do(store, 0, "set_permissions", "/local/domain/1", permissions("b1"))
    transactions = [TreeTransaction(store, 1), TreeTransaction(store, 1)]
    for transaction, steps in zip(transactions, (first, second), strict=True):
        for method, path in steps:
            value = [b"v"] if method == "write" else []
            assert outcome(getattr(transaction, method), f"/local/domain/1/{path}", *value) in (None, "ENOENT")
    for transaction in transactions:
        assert outcome(transaction.commit) in (None, "EAGAIN")
    listed = {f"{path.rstrip('/')}/{child}" for path, node in store.nodes.items() for child in node.children}
    assert listed == {path for path in store.nodes if path.startswith("/") and path != "/"}
    owners = [node.owner for node in store.nodes.values()]
    assert {domid: count for domid, count in store.node_counts.items() if count} == {
        d: owners.count(d) for d in {*owners}
    }
