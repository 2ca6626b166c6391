"""The states of a frontend's objects, and the steps between them. Only ``Object.enter`` writes a state."""

from enum import StrEnum


class ObjectState(StrEnum):
    """The state of an object, between the request that makes it and the response to its RELEASE."""

    WAITING = "waiting"  # the channel of an ACCEPT for which no peer has come
    OPENING = "opening"  # the adapter opens it
    OPEN = "open"
    ENDED = "ended"  # has ended by itself; keeps its id, and its data ring with what is not read yet, until RELEASE
    RELEASING = "releasing"  # the adapter ends it


#: An object is made WAITING or OPENING. It is gone when its request fails, when it is released while WAITING, and when
#: its RELEASE is answered.
NEXT: dict[ObjectState, frozenset[ObjectState]] = {
    ObjectState.WAITING: frozenset({ObjectState.OPENING}),
    ObjectState.OPENING: frozenset({ObjectState.OPEN, ObjectState.WAITING, ObjectState.RELEASING}),
    ObjectState.OPEN: frozenset({ObjectState.ENDED, ObjectState.RELEASING}),
    ObjectState.ENDED: frozenset({ObjectState.RELEASING}),
    ObjectState.RELEASING: frozenset(),
}
