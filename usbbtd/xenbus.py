"""The xenbus handshake of a split device, both ends, as one table.

An end reads the other end's state node and the backend's ``online``, performs the action that ``receive_state``
returns, writes ``next_state`` into its own node, calls ``entered``, and reads again until there is no action. The other
end may be anything: Linux, QEMU, Windows, a program that was killed, an attacker.
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

#: The names of the states, by number.
STATE_NAMES = (
    "Unknown", "Initialising", "InitWait", "Initialised", "Connected", "Closing", "Closed", "Reconfiguring",
    "Reconfigured",
)  # fmt: skip

_GONE = -1
_STATES = range(UNKNOWN, RECONFIGURED + 1)
_KNOWN: dict[int | None, int] = {None: _GONE} | {state: state for state in _STATES}

Role = Literal["frontend", "backend"]


class Action(StrEnum):
    """An action to perform before ``next_state`` is written."""

    PUBLISH = "publish"  # backend: write what it offers
    OFFER = "offer"  # frontend: grant rings, allocate event channels, write both down
    ATTACH = "attach"  # backend: map the rings and bind; frontend: begin to use them
    LEAVE = "leave"  # backend that lingers: go on serving; Closing asks the frontend to close
    DETACH = "detach"  # unmap, unbind and stop sharing what is still mapped, bound or shared; often nothing is
    REMOVE = "remove"  # backend: the device is gone; write Closed over the Closing of a toolstack that waits


_NOT_YET = (INITIALISING, INIT_WAIT)
_LEAVING = (CLOSING, CLOSED, UNKNOWN, _GONE)
_STAYING = (INITIALISED, CONNECTED, RECONFIGURING, RECONFIGURED)

#: Role, own state, states of the other end, action, own state afterwards. In a case that is not here an end waits.
_TABLE: tuple[tuple[Role, int, tuple[int, ...], Action, int], ...] = (
    ("backend", INITIALISING, tuple(_STATES), Action.PUBLISH, INIT_WAIT),
    ("backend", INITIALISING, (_GONE,), Action.DETACH, CLOSING),
    ("backend", INIT_WAIT, (INITIALISED, CONNECTED), Action.ATTACH, CONNECTED),
    ("backend", INIT_WAIT, _LEAVING, Action.DETACH, CLOSING),
    ("backend", CONNECTED, (*_NOT_YET, *_LEAVING), Action.DETACH, CLOSING),
    # A frontend that waits for Closing, or for Closed, must find it: so the frontend moves on first.
    ("backend", CLOSING, (*_NOT_YET, CLOSED, UNKNOWN, _GONE), Action.DETACH, CLOSED),
    ("backend", CLOSED, (INITIALISING,), Action.PUBLISH, INIT_WAIT),
    ("backend", CLOSED, (_GONE,), Action.REMOVE, CLOSED),
    ("frontend", INITIALISING, (INIT_WAIT,), Action.OFFER, INITIALISED),
    ("frontend", INITIALISING, (_GONE,), Action.DETACH, CLOSING),
    ("frontend", INITIALISED, (CONNECTED,), Action.ATTACH, CONNECTED),
    ("frontend", INITIALISED, _LEAVING, Action.DETACH, CLOSING),
    # INITIALISING, INIT_WAIT: the backend was started again and knows nothing of the connection.
    ("frontend", CONNECTED, (*_NOT_YET, *_LEAVING), Action.DETACH, CLOSING),
    ("frontend", CLOSING, (*_NOT_YET, *_LEAVING), Action.DETACH, CLOSED),
    ("frontend", CLOSED, (*_NOT_YET, CLOSED), Action.DETACH, INITIALISING),
)

_STEPS = {(role, own, other): (action, after) for role, own, others, action, after in _TABLE for other in others}
_LEGAL = {(role, own, after) for role, own, _, action, after in _TABLE if action is not Action.REMOVE}


def parse_state(untrusted_text: str | None) -> int:
    """Returns the state in a node; UNKNOWN if there is no node, or anything but a number of at most 10 digits in it."""
    if untrusted_text is None or not re.fullmatch("[0-9]{1,10}", untrusted_text):
        return UNKNOWN
    return int(untrusted_text)


class Handshake:
    """One end of a device. ``state``: the state in its node. ``next_state``: the one to write there after the action.

    ``lingers``: whether a backend goes on serving while it is Closing, because its frontends need it in order to close.
    """

    def __init__(self, role: Role, state: int = INITIALISING, *, lingers: bool = False) -> None:
        self.role: Role = role
        self.lingers = lingers
        self.state = state
        self.next_state = state
        self._close_first = False

    @classmethod
    def adopt(cls, role: Role, found: int, *, lingers: bool = False) -> Self:
        """Returns the end of a device whose last owner has died. ``found``: the state in its node, UNKNOWN without one.

        A connection cannot be taken over: it is closed, and the device then offered again. If ``state`` differs from
        what was found, the caller has to write it first, or the other end never sees it.
        """
        if found in (INITIALISING, CLOSED):
            return cls(role, found, lingers=lingers)
        if (role, found) == ("backend", INIT_WAIT):
            return cls(role, lingers=lingers)
        return cls(role, CLOSING, lingers=lingers)

    def receive_state(self, other: int | None, online: bool = True) -> Action | None:
        """Returns the action for this state of the other end and the backend's ``online``; None if there is none.

        ``other``: None if the other end is gone. A frontend is gone only when its domain is: to a backend, a node that
        is missing or cannot be read is UNKNOWN, as is a state that Xen does not have. May be called again at any time.
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
        """Returns the action that ends the connection, or the attempt at one; None if it is ending or has ended.

        The caller goes on as after any action. A new connection begins as soon as both ends agree: a caller that wants
        none has to stop when ``state`` is CLOSED.
        """
        self._close_first = self.state not in (CLOSING, CLOSED)
        return self.receive_state(None) if self._close_first else None

    def entered(self, state: int) -> None:
        """Notes that ``state`` was written into the own node.

        Legal besides ``next_state`` are CLOSING after an action that failed, and CLOSED when the other end takes too
        long. Raises LocalProtocolError for any other state.
        """
        if (self.role, self.state, state) not in _LEGAL:
            raise LocalProtocolError(f"a {self.role} cannot go from xenbus state {self.state} to {state}")
        self.state = self.next_state = state
        self._close_first = False
