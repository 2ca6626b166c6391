"""The objects of a vl2cap frontend, as its backend keeps them."""

from collections import Counter, deque
from errno import EEXIST, EMFILE
from typing import Any, NamedTuple

from usbbtd.errors import LocalProtocolError
from usbbtd.l2capif.calls import Kind
from usbbtd.l2capif.limits import FrontendLimits
from usbbtd.l2capif.states import NEXT, ObjectState
from usbbtd.l2capif.wire import Request


class ObjectInfo(NamedTuple):
    """The facts about an object. ``server``: see ``Object``."""

    id: int
    kind: Kind
    state: ObjectState
    server: Any = None


class Object:
    """An object that an id names. ``request``: the one that made it.

    ``listener``: the listener of a channel that an ACCEPT made; None for others. ``server``: what the driver serves the
    object with, None before it does; it is kept here so that the driver needs no second book of ids.
    """

    __slots__ = ("accepts", "kind", "listener", "offer", "offers", "request", "server", "state")

    def __init__(self, kind: Kind, state: ObjectState, request: Request, listener: "Object | None" = None) -> None:
        self.kind = kind
        self.state = state
        self.request: Any = request
        self.listener = listener
        self.server: Any = None
        self.offer: Any = None  # the peer for which such a channel is being opened
        # A listener's peers and ACCEPTs (ids of their channels) wait for each other: one of the two is always empty.
        # The backlog limits the offers, the limit of requests the ACCEPTs.
        self.offers: deque[Any] = deque()
        self.accepts: deque[int] = deque()

    def listens(self) -> bool:
        """Tells whether peers and ACCEPTs may come: it is an open listener."""
        return self.kind is Kind.LISTENER and self.state is ObjectState.OPEN

    def backlog_is_full(self, most: int) -> bool:
        """Tells whether no more peers may wait at a listener. ``most``: the highest backlog of any listener."""
        return not self.accepts and len(self.offers) >= min(self.request.backlog or most, most)

    def enter(self, state: ObjectState) -> None:
        """Changes the state; nothing else does. Raises LocalProtocolError if NEXT has no such step."""
        if state not in NEXT[self.state]:
            raise LocalProtocolError(f"{self.kind} {self.request.id} cannot go from {self.state} to {state}")
        self.state = state


class ObjectBook:
    """The objects of one frontend, by id."""

    def __init__(self, limits: FrontendLimits) -> None:
        self.limits = limits
        self._objects: dict[int, Object] = {}
        self._counts: Counter[Kind] = Counter()

    def __getitem__(self, number: int) -> Object:
        return self._objects[number]

    def get(self, number: int) -> Object | None:
        return self._objects.get(number)

    def add(self, kind: Kind, state: ObjectState, request: Any, listener: Object | None = None) -> int:
        """Adds the object that a request makes. Returns 0, or the error number if its id is taken or it is too many."""
        if request.id in self._objects:
            return EEXIST
        if self.count(kind) >= getattr(self.limits, kind.plural):
            return EMFILE
        self._objects[request.id] = Object(kind, state, request, listener)
        self._counts[kind] += 1
        return 0

    def pop(self, number: int) -> Object:
        """Removes an object, whose id may then be used for another."""
        found = self._objects.pop(number)
        self._counts[found.kind] -= 1
        return found

    def clear(self) -> None:
        self._objects.clear()
        self._counts.clear()

    def count(self, kind: Kind) -> int:
        return self._counts[kind]

    def info(self) -> list[ObjectInfo]:
        return [ObjectInfo(number, found.kind, found.state, found.server) for number, found in self._objects.items()]
