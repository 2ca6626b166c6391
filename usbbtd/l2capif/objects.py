"""The objects of a vl2cap frontend as its backend keeps them, and the states they go through."""

from collections import deque
from enum import StrEnum
from typing import Any, NamedTuple

from usbbtd.errors import LocalProtocolError
from usbbtd.l2capif.calls import Kind
from usbbtd.l2capif.wire import Request


class ObjectState(StrEnum):
    """Of an object, between the request that makes it and the response to its RELEASE."""

    WAITING = "waiting"  # an ACCEPT for which no peer has come
    OPENING = "opening"  # the adapter works on it
    OPEN = "open"
    ENDED = "ended"  # died by itself; holds its id, and its data ring for what is still to be read, until RELEASE
    RELEASING = "releasing"  # the adapter takes it down


#: An object is made WAITING or OPENING. It is gone when its request fails, when it is released while WAITING, and when
#: its RELEASE is answered.
NEXT: dict[ObjectState, frozenset[ObjectState]] = {
    ObjectState.WAITING: frozenset({ObjectState.OPENING}),
    ObjectState.OPENING: frozenset({ObjectState.OPEN, ObjectState.WAITING, ObjectState.RELEASING}),
    ObjectState.OPEN: frozenset({ObjectState.ENDED, ObjectState.RELEASING}),
    ObjectState.ENDED: frozenset({ObjectState.RELEASING}),
    ObjectState.RELEASING: frozenset(),
}


class ObjectInfo(NamedTuple):
    """For people who look."""

    id: int
    kind: Kind
    state: ObjectState


class Object:
    """What an id names; ``request`` made it."""

    __slots__ = ("accepts", "kind", "listener", "offer", "offers", "request", "state")

    def __init__(self, kind: Kind, state: ObjectState, request: Request, listener: "Object | None" = None) -> None:
        self.kind = kind
        self.state = state
        self.request: Any = request
        # A channel made by ACCEPT: where it comes from, and the peer that it is being completed with.
        self.listener = listener
        self.offer: int | None = None
        # A listener: peers and ACCEPTs that wait for each other, so that one of the two is empty. Offers are bounded by
        # the backlog; the ACCEPTs' channels (ids) by the limit on requests.
        self.offers: deque[int] = deque()
        self.accepts: deque[int] = deque()

    def listens(self) -> bool:
        """Whether peers and ACCEPTs may come."""
        return self.kind is Kind.LISTENER and self.state is ObjectState.OPEN

    def backlog_is_full(self, most: int) -> bool:
        """Of a listener: whether no more peers may wait, of whom there may be ``most`` at any."""
        return not self.accepts and len(self.offers) >= min(self.request.backlog or most, most)

    def enter(self, state: ObjectState) -> None:
        """The only writer of ``state``. LocalProtocolError where the table above has no such step."""
        if state not in NEXT[self.state]:
            raise LocalProtocolError(f"{self.kind} {self.request.id} cannot go from {self.state} to {state}")
        self.state = state
