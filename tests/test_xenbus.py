import itertools
from collections.abc import Callable

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from usbbtd.errors import LocalProtocolError
from usbbtd.xenbus import (
    CLOSED,
    CLOSING,
    CONNECTED,
    INIT_WAIT,
    INITIALISED,
    INITIALISING,
    RECONFIGURED,
    RECONFIGURING,
    UNKNOWN,
    Action,
    Handshake,
    Role,
    parse_state,
)

ROLES: list[Role] = ["frontend", "backend"]
OWN_STATES: dict[Role, list[int]] = {
    "frontend": [INITIALISING, INITIALISED, CONNECTED, CLOSING, CLOSED],
    "backend": [INITIALISING, INIT_WAIT, CONNECTED, CLOSING, CLOSED],
}
OTHERS = [None, *range(9), 9, -1, 2**31]


class Device:
    """One end with its state node and what it holds: a pump without a Xen."""

    def __init__(self, role: Role, state: int = INITIALISING, *, lingers: bool = False) -> None:
        self.handshake = Handshake(role, state, lingers=lingers)
        self.role = role
        self.node: int | None = state
        self.attached = False
        self.removed = False

    @classmethod
    def adopt(cls, role: Role, text: str | None) -> "Device":
        """One that has begun with what its node says, as XenbusDevice does."""
        found = parse_state(text)
        device = cls(role)
        device.handshake = Handshake.adopt(role, found if text == str(found) else UNKNOWN)
        device.node = device.handshake.state
        return device

    def look(self, other: int | None, online: bool = True) -> bool:
        """One action, if there is one to do."""
        action = self.handshake.receive_state(other, online)
        if action:
            self.act(action)
        return action is not None

    def act(self, action: Action) -> None:
        after = self.handshake.next_state
        match action:
            case Action.PUBLISH:
                assert (self.role, after) == ("backend", INIT_WAIT)
                assert not self.attached
            case Action.OFFER:
                assert (self.role, after) == ("frontend", INITIALISED)
                assert not self.attached
            case Action.ATTACH:
                assert after == CONNECTED
                assert not self.attached
                self.attached = True
            case Action.LEAVE:
                assert (self.role, after, self.attached) == ("backend", CLOSING, True)
            case Action.DETACH:
                assert after in (CLOSING, CLOSED, INITIALISING)
                self.attached = False
            case Action.REMOVE:
                assert (self.role, after, self.attached) == ("backend", CLOSED, False)
                self.removed = True
                return
        self.node = after
        self.handshake.entered(after)


def settle(front: Device, back: Device, online: bool = True) -> None:
    """Both look until nothing is left to do."""
    for _ in range(50):
        moved = front.look(back.node, online)
        if not back.removed:
            moved |= back.look(front.node, online)
        if not moved or back.removed:
            return
    raise AssertionError("the two never come to rest")


def connected(*, lingers: bool = False) -> tuple[Device, Device]:
    front, back = Device("frontend"), Device("backend", lingers=lingers)
    settle(front, back)
    assert (front.node, back.node) == (CONNECTED, CONNECTED)
    assert front.attached
    assert back.attached
    return front, back


@pytest.mark.parametrize("lingers", [True, False])
@pytest.mark.parametrize("online", [True, False])
@pytest.mark.parametrize("other", OTHERS)
@pytest.mark.parametrize(("role", "own"), [(role, own) for role in ROLES for own in OWN_STATES[role]])
def test_every_combination(role: Role, own: int, other: int | None, online: bool, lingers: bool) -> None:
    handshake = Handshake(role, own, lingers=lingers and role == "backend")
    action = handshake.receive_state(other, online)
    assert action == handshake.receive_state(other, online), "asking changes nothing"
    assert handshake.state == own
    if action is None:
        assert handshake.next_state == own
    elif action is not Action.REMOVE:
        handshake.entered(handshake.next_state)
        assert handshake.state == handshake.next_state != own
    # A device that is taken away is never published, offered or attached.
    if not online or other is None:
        assert action in (None, Action.LEAVE, Action.DETACH, Action.REMOVE)
    assert action is not Action.LEAVE or (own, online, lingers) == (CONNECTED, False, True)
    # The tables of Xen's own drivers in a few words.
    if own == CONNECTED and other in (CONNECTED, INITIALISED, RECONFIGURING, RECONFIGURED) and online:
        assert action is None
    if own == CONNECTED and other in (CLOSING, CLOSED, None):
        assert (action, handshake.next_state) == (Action.DETACH, CLOSING)


EXPECTED: list[tuple[Role, int, int | None, bool, Action | None, int]] = [
    ("backend", INITIALISING, INITIALISING, True, Action.PUBLISH, INIT_WAIT),
    ("backend", INITIALISING, CLOSED, True, Action.PUBLISH, INIT_WAIT),
    ("backend", INITIALISING, INITIALISING, False, Action.DETACH, CLOSING),
    ("backend", INIT_WAIT, INITIALISING, True, None, INIT_WAIT),
    ("backend", INIT_WAIT, INITIALISED, True, Action.ATTACH, CONNECTED),
    ("backend", INIT_WAIT, CONNECTED, True, Action.ATTACH, CONNECTED),
    ("backend", INIT_WAIT, CLOSING, True, Action.DETACH, CLOSING),
    ("backend", CONNECTED, INITIALISING, True, Action.DETACH, CLOSING),
    ("backend", CONNECTED, CONNECTED, False, Action.DETACH, CLOSING),
    ("backend", CONNECTED, 77, True, Action.DETACH, CLOSING),
    ("backend", CLOSING, CLOSING, True, None, CLOSING),
    ("backend", CLOSING, CONNECTED, False, None, CLOSING),
    ("backend", CLOSING, CLOSED, True, Action.DETACH, CLOSED),
    ("backend", CLOSING, CLOSED, False, Action.DETACH, CLOSED),
    ("backend", CLOSING, None, True, Action.DETACH, CLOSED),
    ("backend", CLOSED, CLOSED, True, None, CLOSED),
    ("backend", CLOSED, 77, True, None, CLOSED),
    ("backend", CLOSED, INITIALISING, True, Action.PUBLISH, INIT_WAIT),
    ("backend", CLOSED, INITIALISING, False, Action.REMOVE, CLOSED),
    ("backend", CLOSED, None, True, Action.REMOVE, CLOSED),
    ("frontend", INITIALISING, UNKNOWN, True, None, INITIALISING),
    ("frontend", INITIALISING, INITIALISING, True, None, INITIALISING),
    ("frontend", INITIALISING, CONNECTED, True, None, INITIALISING),
    ("frontend", INITIALISING, CLOSING, True, None, INITIALISING),
    ("frontend", INITIALISING, CLOSING, False, Action.DETACH, CLOSING),
    ("frontend", INITIALISING, INIT_WAIT, True, Action.OFFER, INITIALISED),
    ("frontend", INITIALISED, INIT_WAIT, True, None, INITIALISED),
    ("frontend", INITIALISED, INITIALISED, True, None, INITIALISED),
    ("frontend", INITIALISED, CONNECTED, True, Action.ATTACH, CONNECTED),
    ("frontend", INITIALISED, CLOSED, True, Action.DETACH, CLOSING),
    ("frontend", CONNECTED, INIT_WAIT, True, Action.DETACH, CLOSING),
    ("frontend", CLOSING, CONNECTED, True, None, CLOSING),
    ("frontend", CLOSING, CLOSING, True, Action.DETACH, CLOSED),
    ("frontend", CLOSED, CLOSING, True, None, CLOSED),
    ("frontend", CLOSED, CLOSED, True, Action.DETACH, INITIALISING),
    ("frontend", CLOSED, INIT_WAIT, True, Action.DETACH, INITIALISING),
    ("frontend", CLOSED, CLOSED, False, None, CLOSED),
    ("frontend", CLOSED, None, True, None, CLOSED),
]


@pytest.mark.parametrize(("role", "own", "other", "online", "action", "after"), EXPECTED)
def test_the_steps_of_the_protocol(
    role: Role, own: int, other: int | None, online: bool, action: Action | None, after: int
) -> None:
    handshake = Handshake(role, own)
    assert (handshake.receive_state(other, online), handshake.next_state) == (action, after)


LEGAL = {
    "frontend": "13 15 34 35 45 56 61",
    "backend": "12 15 24 25 45 56 62",
}


@pytest.mark.parametrize("role", ROLES)
def test_no_other_transition_is_legal(role: Role) -> None:
    legal = {(int(pair[0]), int(pair[1])) for pair in LEGAL[role].split()}
    for before, after in itertools.product(range(9), repeat=2):
        handshake = Handshake(role, before)
        if (before, after) in legal:
            handshake.entered(after)
            assert handshake.state == handshake.next_state == after
        else:
            with pytest.raises(LocalProtocolError, match=f"{role} cannot go from xenbus state {before} to {after}"):
                handshake.entered(after)
            assert handshake.state == before


def test_two_ends_connect() -> None:
    connected()


@pytest.mark.parametrize("closer", ROLES)
def test_either_end_closes_and_both_connect_again(closer: Role) -> None:
    front, back = connected()
    end = front if closer == "frontend" else back
    assert end.handshake.send_close() is Action.DETACH
    end.act(Action.DETACH)
    assert end.handshake.send_close() is None
    states = []
    for _ in range(20):
        moved = front.look(back.node) | back.look(front.node)
        states.append((front.node, back.node))
        if not moved:
            break
    assert {CLOSED} <= {state for state, _ in states}
    assert {CLOSED} <= {state for _, state in states}
    assert states[-1] == (CONNECTED, CONNECTED)


@pytest.mark.parametrize("state", [INITIALISING, INIT_WAIT, INITIALISED])
@pytest.mark.parametrize("role", ROLES)
def test_closing_before_it_connected(role: Role, state: int) -> None:
    if state in OWN_STATES[role]:
        end = Device(role, state)
        action = end.handshake.send_close()
        assert action is Action.DETACH
        assert end.handshake.receive_state(CONNECTED) is Action.DETACH, "it stays so until it is done"
        end.act(action)
        assert end.node == CLOSING


def test_the_toolstack_takes_the_device_away() -> None:
    front, back = connected()
    settle(front, back, online=False)
    assert (front.node, back.node) == (CLOSED, CLOSED)
    assert back.removed
    assert not front.attached
    assert not back.attached


def test_a_backend_that_lingers() -> None:
    """It is attached until its frontend has closed, except where it has had enough."""
    front, back = connected(lingers=True)
    assert back.look(front.node, online=False)
    assert (back.node, back.attached) == (CLOSING, True)
    assert not back.look(front.node, online=False), "it waits"
    settle(front, back, online=False)
    assert (front.node, back.node, back.attached, back.removed) == (CLOSED, CLOSED, False, True)
    front, back = connected(lingers=True)
    assert back.handshake.send_close() is Action.DETACH


@pytest.mark.parametrize("lingers", [True, False])
def test_the_guest_dies(lingers: bool) -> None:
    _, back = connected(lingers=lingers)
    seen = []
    while not back.removed:
        assert back.look(None)
        seen.append(back.node)
    assert seen == [CLOSING, CLOSED, CLOSED]


@pytest.mark.parametrize("detached", [True, False])
def test_the_driver_domain_dies(detached: bool) -> None:
    front, _ = connected()
    while front.look(None if detached else INITIALISING):
        pass
    assert (front.node, front.attached) == ((CLOSED, False) if detached else (INITIALISING, False))


def test_a_frontend_that_runs_a_close_cycle_before_it_connects() -> None:
    """Windows: it writes each state only when it has seen the backend's answer to the one before."""
    back = Device("backend")
    for front, answer in [
        (INITIALISING, INIT_WAIT),
        (CLOSING, CLOSING),
        (CLOSED, CLOSED),
        (INITIALISING, INIT_WAIT),
        (INITIALISED, CONNECTED),
        (CONNECTED, CONNECTED),
    ]:
        while back.look(front):
            pass
        assert back.node == answer


@pytest.mark.parametrize("own", [INITIALISING, INIT_WAIT, CONNECTED])
def test_a_frontend_that_jumps_to_closed_sees_the_backend_pass_closing(own: int) -> None:
    back = Device("backend", own)
    seen = []
    while back.look(CLOSED):
        seen.append(back.node)
    assert seen[-2:] == [CLOSING, CLOSED]
    while back.look(INITIALISING):
        pass
    assert back.node == INIT_WAIT


def test_a_backend_that_skips_initwait() -> None:
    """netback-like drivers may say Initialised; QEMU says Connected at once."""
    front = Device("frontend")
    assert not front.look(INITIALISED)
    front.look(INIT_WAIT)
    assert not front.look(INITIALISED)
    front.look(CONNECTED)
    assert front.node == CONNECTED


ADOPTED = [
    ("backend", UNKNOWN, [CLOSING, CLOSED, INIT_WAIT, CONNECTED]),
    ("backend", INITIALISING, [INIT_WAIT, CONNECTED]),
    ("backend", INIT_WAIT, [INITIALISING, INIT_WAIT, CONNECTED]),
    ("backend", INITIALISED, [CLOSING, CLOSED, INIT_WAIT, CONNECTED]),
    ("backend", CONNECTED, [CLOSING, CLOSED, INIT_WAIT, CONNECTED]),
    ("backend", CLOSING, [CLOSED, INIT_WAIT, CONNECTED]),
    ("backend", CLOSED, [INIT_WAIT, CONNECTED]),
    ("frontend", UNKNOWN, [CLOSING, CLOSED, INITIALISING, INITIALISED, CONNECTED]),
    ("frontend", INITIALISING, [INITIALISED, CONNECTED]),
    ("frontend", INIT_WAIT, [CLOSING, CLOSED, INITIALISING, INITIALISED, CONNECTED]),
    ("frontend", INITIALISED, [CLOSING, CLOSED, INITIALISING, INITIALISED, CONNECTED]),
    ("frontend", CONNECTED, [CLOSING, CLOSED, INITIALISING, INITIALISED, CONNECTED]),
    ("frontend", CLOSED, [INITIALISING, INITIALISED, CONNECTED]),
    ("frontend", 99, [CLOSING, CLOSED, INITIALISING, INITIALISED, CONNECTED]),
]


@pytest.mark.parametrize(("role", "found", "states"), ADOPTED)
def test_a_device_whose_owner_is_no_more(role: Role, found: int, states: list[int]) -> None:
    other: Role = "backend" if role == "frontend" else "frontend"
    orphan, living = Device.adopt(role, str(found)), Device(other, CONNECTED if found == CONNECTED else INITIALISING)
    seen = [orphan.node] if orphan.node != found else []
    for _ in range(30):
        if orphan.look(living.node):
            seen.append(orphan.node)
        living.look(orphan.node)
    assert (orphan.node, living.node) == (CONNECTED, CONNECTED)
    assert seen == states


#: What may be in a node when an end finds it: a last owner's state, a toolstack's, or anybody's nonsense.
NODES = [None, "", " ", "0", " 4", "4 ", "4\n", "04", "01", "+4", "-1", "9", "x", "٤", "9" * 1000]
NODES += [str(state) for state in range(1, 9)]
EVENTS = st.sampled_from(["front", "back", "front", "back", "close front", "close back", "kill front", "kill back"])


@pytest.mark.parametrize("text", NODES)
def test_what_a_node_says(text: str | None) -> None:
    state = parse_state(text)
    assert state == {"04": 4, "01": 1}.get(text or "", int(text) if text and text in "123456789" else UNKNOWN)


SCRIBBLES = st.tuples(st.sampled_from(["front", "back"]), st.sampled_from(NODES))


@given(st.sampled_from(NODES), st.sampled_from(NODES), st.lists(EVENTS | SCRIBBLES, max_size=60), st.booleans())
@example("0", "6", [], False)
@example("1", "1", ["front", ("front", "0")], False)
def test_any_interleaving_ends_connected(
    front: str | None, back: str | None, events: list[str | tuple[str, str | None]], late: bool
) -> None:
    """Looks, closes and restarts of either end, and what somebody writes over either node, in any order; then both look
    until all is quiet.

    ``front``, ``back``: what is in the nodes at first. An end begins with the first thing that happens to it.
    ``late``: each sees the other's state only as it was when it looked the time before.
    """
    roles: dict[str, Role] = {"front": "frontend", "back": "backend"}
    nodes = {"front": front, "back": back}
    ends: dict[str, Device] = {}
    others = {"front": "back", "back": "front"}

    def said(name: str) -> int | None:
        """A frontend takes a missing node for a backend that is gone; a backend asks whether the domain is."""
        if nodes[name] is None:
            return None if name == "back" else UNKNOWN
        return parse_state(nodes[name])

    seen = {name: said(others[name]) for name in roles}

    def kill(name: str) -> None:
        ends[name] = Device.adopt(roles[name], nodes[name])

    def look(name: str) -> None:
        other = said(others[name])
        ends[name].look(seen[name] if late else other)
        seen[name] = other

    def close(name: str) -> None:
        action = ends[name].handshake.send_close()
        if action:
            ends[name].act(action)

    does: dict[str, Callable[[str], None]] = {"close": close, "kill": kill}
    for event in [*events, *["front", "back"] * 40]:
        if isinstance(event, tuple):
            nodes[event[0]] = event[1]
            continue
        verb, _, name = event.rpartition(" ")
        # A directory that was made anew, or has no state, is another device's, as XenbusDevice sees it.
        if name not in ends or (nodes[name] in (None, "1") and ends[name].node != INITIALISING):
            kill(name)
        does.get(verb, look)(name)
        nodes[name] = str(ends[name].node)
    assert (ends["front"].node, ends["back"].node) == (CONNECTED, CONNECTED)
    assert ends["front"].attached
    assert ends["back"].attached
