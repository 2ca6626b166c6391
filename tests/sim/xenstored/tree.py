"""Nodes, permissions and transactions. Every access goes through a TreeTransaction, single requests included."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from tests.sim.xenstored.wire import ABSOLUTE_PATH_MAX, RELATIVE_PATH_MAX, StoreError

PRIVILEGED = 0  # dom0 may do all and has no quota
SPECIAL_PATHS = ("@introduceDomain", "@releaseDomain")

_VALID_PATH = re.compile(r"[A-Za-z0-9/_@-]+")
_OF_A_DOMAIN = re.compile(r"/local/domain/\d{1,5}/")
_NODE_OVERHEAD = 20  # what the real xenstored counts for a node's header
_PERMISSION_SIZE = 8


class Quota(NamedTuple):
    """Limits for each unprivileged domain: the defaults of Xen 4.17's xenstored."""

    nodes: int = 1000
    watches: int = 128
    transactions: int = 10
    transaction_nodes: int = 1024
    permissions: int = 5
    node_size: int = 2048


class Permission(NamedTuple):
    """`access`: n (none), r, w or b (both). A list's first entry names the owner, and the access of all not listed."""

    domid: int
    access: str


Permissions = tuple[Permission, ...]


@dataclass(frozen=True, slots=True)
class Node:
    permissions: Permissions
    value: bytes = b""
    children: tuple[str, ...] = ()
    generation: int = 0

    @property
    def owner(self) -> int:
        return self.permissions[0].domid

    @property
    def size(self) -> int:
        children = sum(len(child) + 1 for child in self.children)
        return _NODE_OVERHEAD + _PERMISSION_SIZE * len(self.permissions) + len(self.value) + children


class Change(NamedTuple):
    """What watches are told of: one changed node. `readable_by`: one of these must let a watcher's domain read."""

    path: str
    subtree: bool  # tell the watches of every node above, too
    readable_by: tuple[Permissions, ...]


def allows(permissions: Permissions, domid: int, access: str) -> bool:
    """Whether a domain has `access`: "r" or "w"."""
    if domid in (PRIVILEGED, permissions[0].domid):
        return True
    for permission in permissions[1:]:
        if permission.domid == domid:
            return permission.access in (access, "b")
    return permissions[0].access in (access, "b")


def canonical(path: str, domid: int, *, special: bool = False) -> str:
    """The absolute path that a domain means. StoreError EINVAL for one that no node can have."""
    if not _VALID_PATH.fullmatch(path) or (path.startswith("@") and not special):
        raise StoreError("EINVAL")
    if path[0] not in "/@":
        path = f"/local/domain/{domid}/{path}"
    of_a_domain = _OF_A_DOMAIN.match(path)
    limit = RELATIVE_PATH_MAX + of_a_domain.end() if of_a_domain else ABSOLUTE_PATH_MAX
    if "//" in path or (path.endswith("/") and path != "/") or len(path) > limit:
        raise StoreError("EINVAL")
    return path


def parent_of(path: str) -> str:
    return path.rpartition("/")[0] or "/"


@dataclass
class Tree:
    """The committed nodes."""

    quota: Quota = field(default_factory=Quota)
    domains: set[int] = field(default_factory=set)  # introduced
    nodes: dict[str, Node] = field(default_factory=dict)
    node_counts: Counter[int] = field(default_factory=Counter)  # by owner
    generation: int = 0

    def __post_init__(self) -> None:
        for path in ("/", *SPECIAL_PATHS):
            self.nodes[path] = Node((Permission(PRIVILEGED, "n"),))
        self.node_counts[PRIVILEGED] = len(self.nodes)

    def next_generation(self) -> int:
        self.generation += 1
        return self.generation

    def forget_domain(self, domid: int) -> list[Change]:
        """A domain is no more: nodes that it owns go with all below, and no list names it any longer."""
        for path, node in self.nodes.items():
            left = (node.permissions[0], *(p for p in node.permissions[1:] if p.domid != domid))
            if len(left) != len(node.permissions):
                self.nodes[path] = replace(node, permissions=left)
        transaction = TreeTransaction(self, PRIVILEGED)
        for path in [path for path, node in self.nodes.items() if node.owner == domid and path != "/"]:
            if path in SPECIAL_PATHS:
                self.nodes[path] = Node((Permission(PRIVILEGED, "n"),))
            elif transaction.get(path):
                transaction.remove(path)
        return transaction.commit()


class TreeTransaction:
    """One domain's view of the store, until `commit`. All methods take canonical paths and raise StoreError."""

    def __init__(self, store: Tree, domid: int) -> None:
        self._store = store
        self._domid = domid
        self._read: dict[str, Node | None] = {}  # as it was when it was first read; None: there was no such node
        self._changed: dict[str, Node | None] = {}
        self._events: dict[str, bool] = {}  # path -> tell the watches above, too
        self._created = 0
        self._failed = False  # over a quota: as in the real xenstored, nothing of it can be committed any more

    def get(self, path: str) -> Node | None:
        if path in self._changed:
            return self._changed[path]
        node = self._store.nodes.get(path)
        if path not in self._read:
            self._check_quota(len(self._read), self._store.quota.transaction_nodes - 1)
            self._read[path] = node
        return self._read[path] or node  # a node that was there is copied, as by the real xenstored

    def read(self, path: str) -> bytes:
        return self._require(path, "r").value

    def directory(self, path: str) -> Node:
        """For its children and generation."""
        return self._require(path, "r")

    def permissions(self, path: str) -> Permissions:
        return self._require(path, "r").permissions

    def write(self, path: str, value: bytes) -> None:
        node = self._find_or_create(path)
        self._put(path, replace(node, value=value))
        self._events[path] = True

    def mkdir(self, path: str) -> None:
        if self._find(path, "w") is None:
            self._put(path, self._create(path))
            self._events[path] = True

    def remove(self, path: str) -> None:
        """A node and all below. No error if there is none, as long as its parent is there."""
        if self._find(path, "w") is None:
            if self.get(parent_of(path)) is None:
                raise StoreError("ENOENT")
            return
        if path == "/":
            raise StoreError("EINVAL")
        # Watches hear of the deepest first. Only the root of what is removed is told to watches above it.
        for below in self._bottom_up(path):
            self._changed[below] = None
            self._events[below] = below == path or self._events.get(below, False)
        parent = self._existing(parent_of(path))
        name = path.rpartition("/")[2]
        self._put(parent_of(path), replace(parent, children=tuple(c for c in parent.children if c != name)))

    def set_permissions(self, path: str, permissions: Permissions) -> None:
        """Only the owner may, and only the privileged domain may give a node to another."""
        self._check_quota(len(permissions), self._store.quota.permissions)
        owner = permissions[0].domid
        if owner not in self._store.domains:
            raise StoreError("ENOENT")
        node = self._require(path, "w")
        if self._domid not in (PRIVILEGED, node.owner):
            raise StoreError("EACCES")
        if self._domid != PRIVILEGED and owner != node.owner:
            raise StoreError("EPERM")
        self._put(path, replace(node, permissions=permissions))
        self._events[path] = True

    def commit(self) -> list[Change]:
        """Makes all changes at once; returns what to tell watches. StoreError EAGAIN if a node that it read changed."""
        if self._failed:
            raise StoreError("ENOMEM")
        nodes = self._store.nodes
        for path, read in self._read.items():
            node = nodes.get(path)
            if (node and node.generation) != (read and read.generation):
                raise StoreError("EAGAIN")
        changes = list(self._take_changes())
        for path, node in self._changed.items():
            before = nodes.pop(path, None) if node is None else nodes.get(path)
            if before:
                self._store.node_counts[before.owner] -= 1
            if node:
                nodes[path] = replace(node, generation=self._store.next_generation())
                self._store.node_counts[node.owner] += 1
        return changes

    def _take_changes(self) -> Iterator[Change]:
        for path, subtree in self._events.items():
            before, after = self._store.nodes.get(path), self._changed[path]
            parent = self._changed.get(parent_of(path)) or self._store.nodes.get(parent_of(path))
            if before or after:
                yield Change(path, subtree, tuple(node.permissions for node in (before, after, parent) if node))

    def _find(self, path: str, access: str) -> Node | None:
        """None: there is no such node and the domain may know it. EACCES otherwise says nothing about the node."""
        node = self.get(path)
        if node:
            if not allows(node.permissions, self._domid, access):
                raise StoreError("EACCES")
            return node
        above = parent_of(path)
        while (existing := self.get(above)) is None:
            above = parent_of(above)
        if not allows(existing.permissions, self._domid, access):
            raise StoreError("EACCES")
        return None

    def _require(self, path: str, access: str) -> Node:
        node = self._find(path, access)
        if node is None:
            raise StoreError("ENOENT")
        return node

    def _existing(self, path: str) -> Node:
        node = self.get(path)
        if node is None:
            raise StoreError("EIO")
        return node

    def _find_or_create(self, path: str) -> Node:
        return self._find(path, "w") or self._create(path)

    def _create(self, path: str) -> Node:
        """The node with all that is missing above it. Permissions are the parent's; a domain owns what it makes."""
        missing = [path]
        while (parent := self.get(parent_of(missing[-1]))) is None:
            missing.append(parent_of(missing[-1]))
        for new in reversed(missing):
            self._created += 1
            self._check_quota(self._store.node_counts[self._domid] + self._created, self._store.quota.nodes)
            self._put(parent_of(new), replace(parent, children=(*parent.children, new.rpartition("/")[2])))
            owner = parent.owner if self._domid == PRIVILEGED else self._domid
            parent = Node((parent.permissions[0]._replace(domid=owner), *parent.permissions[1:]))
            self._put(new, parent)
        return parent

    def _put(self, path: str, node: Node) -> None:
        self._check_quota(node.size, self._store.quota.node_size)
        self._changed[path] = node

    def _check_quota(self, used: int, limit: int) -> None:
        if used > limit and self._domid != PRIVILEGED:
            self._failed = True
            raise StoreError("ENOSPC")

    def _bottom_up(self, path: str) -> Iterator[str]:
        found, open_paths = [], [path]
        while open_paths:
            found.append(open_paths.pop())
            open_paths += [f"{found[-1]}/{child}" for child in self._existing(found[-1]).children]
        return reversed(found)
