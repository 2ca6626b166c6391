"""The tables, and every state of each against everything that a peer can send."""

from collections.abc import Callable
from typing import Any

import pytest

from usbbtd.bluetooth import BREDR, LE
from usbbtd.l2cap.events import ChannelEnded, ChannelRefused
from usbbtd.l2cap.options import mtu_option
from usbbtd.l2cap.states import CLASSIC, CREDIT_BASED, FIXED, ChannelState, Transitions
from usbbtd.l2cap.wire import (
    CommandReject,
    ConfigurationRequest,
    ConfigurationResponse,
    ConnectionResponse,
    DisconnectionRequest,
    DisconnectionResponse,
    FlowControlCredit,
    InformationRequest,
    InformationResponse,
    L2capConnectionRequest,
    L2capEchoRequest,
    L2capEchoResponse,
    LeConnectionRequest,
    LeConnectionResponse,
    ParameterUpdateRequest,
    ParameterUpdateResponse,
    SignallingCommand,
)

PeerOf = Callable[..., Any]
DCID = 0x70


@pytest.mark.parametrize("table", [CLASSIC, CREDIT_BASED, FIXED])
def test_every_state_is_reached_and_left(table: Transitions) -> None:
    states = {state for state, _ in table}
    assert states == set(table.values())
    for begin in states:
        reached = {begin}
        while more := {target for (state, _), target in table.items() if state in reached} - reached:
            reached |= more
        assert reached == states


def asked(remote: Any) -> tuple[int, int]:
    cid = remote.ask()
    remote.pass_time(0.6)
    remote.take()
    return cid, 0


def connecting(remote: Any) -> tuple[int, int]:
    cid = remote.mux.connect(remote.handle, remote.psm, 672, remote.now)
    return cid, remote.take_one()[0]


def configuring(remote: Any) -> tuple[int, int]:
    cid = remote.ask()
    remote.mux.accept(remote.handle, cid, 672, remote.now)
    return cid, remote.take()[-1][0]


def configured_by_peer(remote: Any) -> tuple[int, int]:
    cid, identifier = configuring(remote)
    remote.send(ConfigurationRequest(cid, 0, b""), 99)
    remote.take()
    return cid, identifier


def configured_by_mux(remote: Any) -> tuple[int, int]:
    cid, identifier = configuring(remote)
    remote.send(ConfigurationResponse(cid, 0, 0, b""), identifier)
    return cid, identifier


def opened(remote: Any) -> tuple[int, int]:
    return remote.open(), 0


def draining(remote: Any) -> tuple[int, int]:
    cid = remote.open()
    remote.mux.send_sdu(remote.handle, cid, b"sdu")
    remote.mux.disconnect(remote.handle, cid, remote.now)
    return cid, 0


def given_up(remote: Any) -> tuple[int, int]:
    cid, identifier = connecting(remote)
    remote.mux.disconnect(remote.handle, cid, remote.now)
    return cid, identifier


def disconnecting(remote: Any) -> tuple[int, int]:
    cid = remote.open()
    remote.mux.disconnect(remote.handle, cid, remote.now)
    return cid, remote.take_one()[0]


#: How a channel gets into a state: returns our cid and the identifier of our request in flight, or 0.
WAYS = {
    "WAIT_CONNECT": (ChannelState.WAIT_CONNECT, asked),
    "WAIT_CONNECT_RSP": (ChannelState.WAIT_CONNECT_RSP, connecting),
    "OPEN": (ChannelState.OPEN, opened),
    "OPEN, draining": (ChannelState.OPEN, draining),
    "WAIT_DISCONNECT, given up": (ChannelState.WAIT_DISCONNECT, given_up),
    "WAIT_DISCONNECT": (ChannelState.WAIT_DISCONNECT, disconnecting),
}
CONFIG_WAYS = {
    "WAIT_CONFIG_REQ_RSP": (ChannelState.WAIT_CONFIG_REQ_RSP, configuring),
    "WAIT_CONFIG_RSP": (ChannelState.WAIT_CONFIG_RSP, configured_by_peer),
    "WAIT_CONFIG_REQ": (ChannelState.WAIT_CONFIG_REQ, configured_by_mux),
}

#: Every command, with both ends (cid) right, each wrong, and the results that mean something.
COMMANDS_SENT: dict[str, Callable[[int], Any]] = {
    "reject": lambda cid: CommandReject(0, b""),
    "reject, invalid cid": lambda cid: CommandReject(2, bytes((DCID, 0, cid, 0))),
    "connection request": lambda cid: L2capConnectionRequest(0x1001, 0x71),
    "connection request, same cid": lambda cid: L2capConnectionRequest(0x1001, DCID),
    "configuration request": lambda cid: ConfigurationRequest(cid, 0, mtu_option(100)),
    "configuration request, unacceptable": lambda cid: ConfigurationRequest(cid, 0, mtu_option(1)),
    "configuration request, to be continued": lambda cid: ConfigurationRequest(cid, 1, b""),
    "configuration request, malformed": lambda cid: ConfigurationRequest(cid, 0, b"\1"),
    "configuration request, other cid": lambda cid: ConfigurationRequest(cid + 1, 0, b""),
    "echo request": lambda cid: L2capEchoRequest(b""),
    "echo response": lambda cid: L2capEchoResponse(b""),
    "information request": lambda cid: InformationRequest(2),
    "information response": lambda cid: InformationResponse(2, 0, bytes(4)),
    "disconnection request": lambda cid: DisconnectionRequest(cid, DCID),
    "disconnection request, other scid": lambda cid: DisconnectionRequest(cid, 0),
    "disconnection request, other dcid": lambda cid: DisconnectionRequest(cid + 1, DCID),
    "disconnection response": lambda cid: DisconnectionResponse(DCID, cid),
    "disconnection response, other": lambda cid: DisconnectionResponse(cid, DCID),
    "parameter request": lambda cid: ParameterUpdateRequest(6, 6, 0, 200),
    "parameter response": lambda cid: ParameterUpdateResponse(0),
    "le connection request": lambda cid: LeConnectionRequest(0x80, 0x71, 64, 64, 1),
    "le connection request, same cid": lambda cid: LeConnectionRequest(0x80, DCID, 64, 64, 1),
    "credits": lambda cid: FlowControlCredit(DCID, 1),
    "too many credits": lambda cid: FlowControlCredit(DCID, 0xFFFF),
} | {
    f"{name} {result}": lambda cid, build=build, result=result: build(cid, result)
    for name, build, results in (
        ("connection response", lambda cid, result: ConnectionResponse(DCID, cid, result, 0), (0, 1, 2)),
        ("connection response, cid 0,", lambda cid, result: ConnectionResponse(0, cid, result, 0), (0, 1)),
        ("le connection response", lambda cid, result: LeConnectionResponse(DCID, 64, 64, 1, result), (0, 2)),
        ("le connection response, cid 0,", lambda cid, result: LeConnectionResponse(0, 64, 64, 1, result), (0,)),
        ("configuration response", lambda cid, result: ConfigurationResponse(cid, 0, result, b""), range(6)),
        ("configuration response, continued,", lambda cid, result: ConfigurationResponse(cid, 1, result, b""), (0, 1)),
        ("configuration response, cut off,", lambda cid, result: ConfigurationResponse(cid, 0, result, b"\1"), (0, 1)),
    )
    for result in results
}


def test_every_command_is_sent() -> None:
    assert {type(build(0x40)) for build in COMMANDS_SENT.values()} == set(SignallingCommand.registry.values())


@pytest.mark.parametrize(
    ("transport", "way"),
    [(BREDR, way) for way in WAYS | CONFIG_WAYS] + [(LE, way) for way in WAYS],
)
@pytest.mark.parametrize("command", COMMANDS_SENT)
def test_every_state_and_every_command(peer: PeerOf, transport: int, way: str, command: str) -> None:
    """The outcome is a transition of the table or none; requests are answered; the channel ends once, in time."""
    state, reach = (WAYS | CONFIG_WAYS)[way]
    table = CLASSIC if transport == BREDR else CREDIT_BASED
    remote = peer(transport)
    remote.dcid = DCID
    cid, identifier = reach(remote)
    assert remote.state(cid) == state
    remote.events()
    sent = COMMANDS_SENT[command](cid)
    remote.send(sent, identifier or 200)
    after = remote.state(cid) or ChannelState.CLOSED
    reachable = {state} | {target for (source, _), target in table.items() if source == state}
    # these two states are only passed through: we configure at once
    if ChannelState.WAIT_CONFIG in reachable:
        reachable |= {ChannelState.WAIT_CONFIG_REQ_RSP}
    if ChannelState.WAIT_SEND_CONFIG in reachable:
        reachable |= {ChannelState.WAIT_CONFIG_RSP}
    assert after in reachable

    remote.take_pdus()
    remote.pass_time(1000)
    remote.take_pdus()
    remote.mux.disconnect(remote.handle, cid, remote.now)
    remote.pass_time(1000)
    assert remote.state(cid) is None
    ends = [event for event in remote.events() if isinstance(event, (ChannelEnded, ChannelRefused))]
    assert sum(event.cid == cid for event in ends) == (0 if way.endswith("given up") else 1)
