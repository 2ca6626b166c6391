"""The xenbus handshake of a split device, both ends, as one table.

An end looks at the other end's state node and at the backend's ``online``, does what ``receive_state`` asks for, writes
``next_state`` into its own node, says ``entered``, and looks again, until there is nothing to do. The other end may be
anything: Linux, QEMU, Windows, a program that was killed, an attacker.
"""

import re
from enum import StrEnum
from typing import Literal, Self

from usbbtd.errors import LocalProtocolError

UNKNOWN = 0
INITIALISING = 1
INIT_WAIT = 2
INITIALISED = 3
CONNECTED = 4
CLOSING = 5
CLOSED = 6
RECONFIGURING = 7
RECONFIGURED = 8

#: What people call them, by number.
STATE_NAMES = (
    "Unknown", "Initialising", "InitWait", "Initialised", "Connected", "Closing", "Closed", "Reconfiguring",
    "Reconfigured",
)  # fmt: skip

_GONE = -1
_STATES = range(UNKNOWN, RECONFIGURED + 1)
_KNOWN: dict[int | None, int] = {None: _GONE} | {state: state for state in _STATES}

Role = Literal["frontend", "backend"]


class Action(StrEnum):
    """What to do before ``next_state`` is written."""

    PUBLISH = "publish"  # backend: write what it offers
    OFFER = "offer"  # frontend: grant rings, allocate event channels, write both down
    ATTACH = "attach"  # backend: map the rings and bind; frontend: begin to use them
    LEAVE = "leave"  # backend that lingers: go on, the frontend is asked to close
    DETACH = "detach"  # unmap, unbind, stop sharing whatever there may still be; often nothing
    REMOVE = "remove"  # backend: the device is no more; Closed is written over the Closing of a waiting toolstack


_NOT_YET = (INITIALISING, INIT_WAIT)
_LEAVING = (CLOSING, CLOSED, UNKNOWN, _GONE)
_STAYING = (INITIALISED, CONNECTED, RECONFIGURING, RECONFIGURED)

#: Role, own state, states of the other end, what to do, own state afterwards. Whatever is not here waits.
_TABLE: tuple[tuple[Role, int, tuple[int, ...], Action, int], ...] = (
    ("backend", INITIALISING, tuple(_STATES), Action.PUBLISH, INIT_WAIT),
    ("backend", INITIALISING, (_GONE,), Action.DETACH, CLOSING),
    ("backend", INIT_WAIT, (INITIALISED, CONNECTED), Action.ATTACH, CONNECTED),
    ("backend", INIT_WAIT, _LEAVING, Action.DETACH, CLOSING),
    ("backend", CONNECTED, (*_NOT_YET, *_LEAVING), Action.DETACH, CLOSING),
    # A frontend that waits for Closing, or for Closed, must find it: so it moves on first.
    ("backend", CLOSING, (*_NOT_YET, CLOSED, UNKNOWN, _GONE), Action.DETACH, CLOSED),
    ("backend", CLOSED, (INITIALISING,), Action.PUBLISH, INIT_WAIT),
    ("backend", CLOSED, (_GONE,), Action.REMOVE, CLOSED),
    ("frontend", INITIALISING, (INIT_WAIT,), Action.OFFER, INITIALISED),
    ("frontend", INITIALISING, (_GONE,), Action.DETACH, CLOSING),
    ("frontend", INITIALISED, (CONNECTED,), Action.ATTACH, CONNECTED),
    ("frontend", INITIALISED, _LEAVING, Action.DETACH, CLOSING),
    # INITIALISING, INIT_WAIT: a backend that lost its memory.
    ("frontend", CONNECTED, (*_NOT_YET, *_LEAVING), Action.DETACH, CLOSING),
    ("frontend", CLOSING, (*_NOT_YET, *_LEAVING), Action.DETACH, CLOSED),
    ("frontend", CLOSED, (*_NOT_YET, CLOSED), Action.DETACH, INITIALISING),
)

_STEPS = {(role, own, other): (action, after) for role, own, others, action, after in _TABLE for other in others}
_LEGAL = {(role, own, after) for role, own, _, action, after in _TABLE if action is not Action.REMOVE}


def parse_state(untrusted_text: str | None) -> int:
    """The state that a node says; UNKNOWN where there is no node, or no number of a usual length in it."""
    if untrusted_text is None or not re.fullmatch("[0-9]{1,10}", untrusted_text):
        return UNKNOWN
    return int(untrusted_text)


class Handshake:
    """One end of a device. ``state`` is what its state node says, ``next_state`` what it will say after the action.

    ``lingers``: a backend that is to go on while it is Closing, as its frontends need it in order to close.
    """

    def __init__(self, role: Role, state: int = INITIALISING, *, lingers: bool = False) -> None:
        self.role: Role = role
        self.lingers = lingers
        self.state = state
        self.next_state = state
        self._close_first = False

    @classmethod
    def adopt(cls, role: Role, found: int, *, lingers: bool = False) -> Self:
        """The end of a device whose last owner is no more, by the state in its node: UNKNOWN where there is none.

        A connection cannot be taken over: it is closed, and the device then offered again. Where the node says anything
        but the ``state`` of the end, that is to be written first: what is only in memory the other end never sees.
        """
        if found in (INITIALISING, CLOSED):
            return cls(role, found, lingers=lingers)
        if (role, found) == ("backend", INIT_WAIT):
            return cls(role, lingers=lingers)
        return cls(role, CLOSING, lingers=lingers)

    def receive_state(self, other: int | None, online: bool = True) -> Action | None:
        """The state of the other end, None when that is gone, and the backend's ``online``: what to do now.

        To a backend, a frontend is gone with its domain only: of a node that cannot be read, or is missing, nothing is
        known. States that Xen does not know count as UNKNOWN. May be asked as often as one likes.
        """
        known = _KNOWN.get(other, UNKNOWN)
        if self.lingers and not (online or self._close_first) and self.state == CONNECTED and known in _STAYING:
            self.next_state = CLOSING
            return Action.LEAVE
        # While it closes a device that is taken away, a backend still waits for its frontend to follow.
        if not online and self.state != CLOSING:
            known = _GONE
        if self._close_first:
            known = _GONE
        action, self.next_state = _STEPS.get((self.role, self.state, known), (None, self.state))
        return action

    def send_close(self) -> Action | None:
        """Ends the connection, or the attempt at one; None when it has ended. Then go on as after any action.

        The device is taken up again as soon as both ends agree: who has had enough stops when ``state`` is CLOSED.
        """
        self._close_first = self.state not in (CLOSING, CLOSED)
        return self.receive_state(None) if self._close_first else None

    def entered(self, state: int) -> None:
        """The own node says ``state``. Raises LocalProtocolError for a state that may not follow the last one.

        Legal besides ``next_state``: CLOSING when an action failed, and CLOSED when the other end takes too long.
        """
        if (self.role, self.state, state) not in _LEGAL:
            raise LocalProtocolError(f"a {self.role} cannot go from xenbus state {self.state} to {state}")
        self.state = self.next_state = state
        self._close_first = False
