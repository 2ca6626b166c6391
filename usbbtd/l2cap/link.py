"""One ACL link: its signalling, its channels by both their ends, and what the peer asks of it."""

from collections import deque
from collections.abc import Callable
from typing import NamedTuple

from usbbtd.bluetooth import CENTRAL, LE, BredrResult, LeResult, parameters_are_legal
from usbbtd.errors import LocalProtocolError
from usbbtd.l2cap import fixed
from usbbtd.l2cap.channel import Channel
from usbbtd.l2cap.classic import ClassicChannel
from usbbtd.l2cap.credit_based import CreditBasedChannel, parameters_are_valid
from usbbtd.l2cap.echo import Echoes
from usbbtd.l2cap.events import Event, ParametersAnswered, ParametersRequested
from usbbtd.l2cap.limits import Limits
from usbbtd.l2cap.pdu import (
    CID_LE_SIGNALLING,
    CID_SIGNALLING,
    DYNAMIC_CIDS,
    INFORMATION_EXTENDED_FEATURES,
    INFORMATION_FIXED_CHANNELS,
    INFORMATION_NOT_SUPPORTED,
    INFORMATION_SUCCESS,
    PARAMETERS_ACCEPTED,
    PARAMETERS_REJECTED,
    Command,
    ConfigurationRequest,
    ConnectionRequest,
    DisconnectionRequest,
    EchoRequest,
    EchoResponse,
    FlowControlCredit,
    InformationRequest,
    InformationResponse,
    LeConnectionRequest,
    ParameterUpdateRequest,
    ParameterUpdateResponse,
)
from usbbtd.l2cap.signalling import Answer, Deadlines, Signalling

#: The modes of channels, by transport of the link.
_MODES: tuple[type[ClassicChannel], type[CreditBasedChannel]] = (ClassicChannel, CreditBasedChannel)

#: The commands that a peer may begin with, by transport (Table 4.2).
_CODES = tuple(
    frozenset(command.code for command in commands)
    for commands in (
        (ConnectionRequest, ConfigurationRequest, DisconnectionRequest, EchoRequest, InformationRequest),
        (LeConnectionRequest, FlowControlCredit, DisconnectionRequest, ParameterUpdateRequest),
    )
)

_SIGNALLING_CIDS = (CID_SIGNALLING, CID_LE_SIGNALLING)
_INVALID_SOURCE_CID = (BredrResult.INVALID_SOURCE_CID, LeResult.INVALID_SOURCE_CID)
_SOURCE_CID_ALLOCATED = (BredrResult.SOURCE_CID_ALLOCATED, LeResult.SOURCE_CID_ALLOCATED)

# 4.12 and 4.13: of the features only "fixed channels supported", of these only the signalling channel
_INFORMATION = {
    INFORMATION_EXTENDED_FEATURES: (1 << 7).to_bytes(4, "little"),
    INFORMATION_FIXED_CHANNELS: (1 << CID_SIGNALLING).to_bytes(8, "little"),
}

#: All counters of a mux that are not sums over its channels.
COUNTERS = (
    "channels_failed",
    "pdus_malformed",
    "pdus_without_link",
    "pdus_without_channel",
    "pdus_on_fixed_channels",
    "signalling_dropped",
    "signalling_ignored",
)


class Shared(NamedTuple):
    """What the links of one mux have in common. The lists are emptied in place: their ``append`` may be kept."""

    limits: Limits
    listeners: set[tuple[int, int]]  # (transport, psm)
    deadlines: Deadlines
    counters: dict[str, int]
    events: list[Event]
    sdus: list[tuple[int, int, bytes]]
    writable: list[tuple[int, int]]


class Link:
    """``receivers``: who takes a PDU, by CID. ``ready``: channels that have a PDU to send, whose turn it is first."""

    def __init__(self, shared: Shared, handle: int, transport: int, role: int) -> None:
        self.shared = shared
        self.handle = handle
        self.transport = transport
        self.role = role
        self.ready: deque[Channel] = deque()
        self.channels: dict[int, Channel] = {}
        self.peers: dict[int, Channel] = {}  # by the peer's end, as soon as it is known
        self.signalling = Signalling(
            transport, shared.limits, _CODES[transport], self._receive_command, shared.deadlines, shared.counters
        )
        self.receivers: dict[int, Callable[[bytes, float], None]] = {
            _SIGNALLING_CIDS[transport]: self.signalling.receive
        } | dict.fromkeys(fixed.FIXED_CIDS[transport], self._receive_fixed)
        self.echoes = Echoes(handle, transport, self.signalling, shared.events)
        self._next_cid = DYNAMIC_CIDS[transport].start
        self._parameters_identifier = 0  # of the peer's request that waits for an answer; 0: none
        self._is_asking = False  # for other parameters

    # -- channels

    def create(self, psm: int) -> ClassicChannel | CreditBasedChannel | None:
        """A new channel, closed still; None: the limit of the link is reached."""
        cids = DYNAMIC_CIDS[self.transport]
        if len(self.channels) >= min(self.shared.limits.channels, len(cids)):
            return None
        # The longest unused first: what is under way for a channel that was closed does not meet the next one.
        while self._next_cid in self.channels:
            self._advance(cids)
        channel = _MODES[self.transport](self, self._next_cid, psm)
        self.channels[channel.cid] = channel
        self._advance(cids)
        return channel

    def remove(self, channel: Channel) -> None:
        """Forget a channel that is closed."""
        channel.stop_sending()
        self.channels.pop(channel.cid, None)
        self.receivers.pop(channel.cid, None)
        if self.peers.get(channel.dcid) is channel:
            del self.peers[channel.dcid]
        self.shared.deadlines.pop(channel, None)
        self.signalling.forget(channel)

    def lost(self) -> None:
        """The link is gone, and all on it."""
        for channel in list(self.channels.values()):
            channel.link_lost()
        self.echoes.lost()
        self.signalling.close()

    def _advance(self, cids: range) -> None:
        self._next_cid = self._next_cid + 1 if self._next_cid + 1 in cids else cids.start

    # -- requests of ours

    def request_parameters(self, request: ParameterUpdateRequest, now: float) -> None:
        """LocalProtocolError: only the peripheral of an LE link asks (4.20), one at a time, within the ranges."""
        if self.transport != LE or self.role == CENTRAL or self._is_asking or not _are_legal(request):
            raise LocalProtocolError(f"{request} is not for this link now")
        self._is_asking = True
        self.signalling.send_request(request, self, now, self._parameters_answered, self._parameters_expired)

    def _parameters_answered(self, response: Command, _now: float) -> Answer:
        accepted = isinstance(response, ParameterUpdateResponse) and response.result == PARAMETERS_ACCEPTED
        self._is_asking = False
        self.shared.events.append(ParametersAnswered(self.handle, accepted))
        return Answer.FINAL

    def _parameters_expired(self, _now: float) -> None:
        self._is_asking = False
        self.shared.events.append(ParametersAnswered(self.handle, False))

    def answer_parameters(self, accepted: bool) -> bool:
        """Returns whether there was a request of the peer to answer."""
        if not self._parameters_identifier:
            return False
        result = PARAMETERS_ACCEPTED if accepted else PARAMETERS_REJECTED
        self.signalling.respond(self._parameters_identifier, ParameterUpdateResponse(result))
        self._parameters_identifier = 0
        return True

    # -- requests of the peer

    def _receive_command(self, untrusted: Command, identifier: int, now: float) -> None:
        match untrusted:
            case ConnectionRequest():
                self._receive_connection(untrusted, identifier, now)
            case LeConnectionRequest():
                self._receive_le_connection(untrusted, identifier, now)
            case ConfigurationRequest():
                channel = self.channels.get(untrusted.dcid)
                if isinstance(channel, ClassicChannel):
                    channel.configuration_requested(identifier, untrusted, now)
                else:
                    self.signalling.reject_cid(identifier, untrusted.dcid, 0)
            case DisconnectionRequest():
                self._receive_disconnection(untrusted, identifier)
            case FlowControlCredit():
                channel = self.peers.get(untrusted.cid)
                if isinstance(channel, CreditBasedChannel):
                    channel.credits_received(untrusted.credits, now)
                else:
                    self.shared.counters["signalling_ignored"] += 1
            case EchoRequest():
                self.signalling.respond(identifier, EchoResponse(untrusted.data))
            case InformationRequest():
                data = _INFORMATION.get(untrusted.type)
                result = INFORMATION_NOT_SUPPORTED if data is None else INFORMATION_SUCCESS
                self.signalling.respond(identifier, InformationResponse(untrusted.type, result, data or b""))
            case ParameterUpdateRequest():
                self._receive_parameters(untrusted, identifier)

    def _receive_connection(self, untrusted: ConnectionRequest, identifier: int, now: float) -> None:
        result = self._why_not(untrusted.psm, untrusted.scid)
        channel = None if result else self.create(untrusted.psm)
        if isinstance(channel, ClassicChannel):
            channel.requested(identifier, untrusted.scid, now)
        else:
            response = ClassicChannel.refusal(untrusted.scid, result or BredrResult.NO_RESOURCES)
            self.signalling.respond(identifier, response)

    def _receive_le_connection(self, untrusted: LeConnectionRequest, identifier: int, now: float) -> None:
        result = self._why_not(untrusted.spsm, untrusted.scid)
        if not result and not parameters_are_valid(untrusted):
            result = LeResult.UNACCEPTABLE_PARAMETERS
        channel = None if result else self.create(untrusted.spsm)
        if isinstance(channel, CreditBasedChannel):
            channel.requested_with(identifier, untrusted, now)
        else:
            response = CreditBasedChannel.refusal(untrusted.scid, result or BredrResult.NO_RESOURCES)
            self.signalling.respond(identifier, response)

    def _why_not(self, untrusted_psm: int, untrusted_scid: int) -> int:
        """The result that refuses a connection request of the peer; BredrResult.SUCCESS: it may have its channel."""
        if (self.transport, untrusted_psm) not in self.shared.listeners:
            return BredrResult.PSM_NOT_SUPPORTED
        if untrusted_scid not in DYNAMIC_CIDS[self.transport]:
            return _INVALID_SOURCE_CID[self.transport]
        if untrusted_scid in self.peers:
            return _SOURCE_CID_ALLOCATED[self.transport]
        return BredrResult.SUCCESS

    def _receive_disconnection(self, untrusted: DisconnectionRequest, identifier: int) -> None:
        channel = self.channels.get(untrusted.dcid)
        if channel is None:
            self.signalling.reject_cid(identifier, untrusted.dcid, untrusted.scid)
        elif not channel.dcid or channel.dcid != untrusted.scid:
            self.shared.counters["signalling_ignored"] += 1  # 4.6: only half of the pair is right
        else:
            channel.disconnected_by_peer(identifier)

    def _receive_parameters(self, untrusted: ParameterUpdateRequest, identifier: int) -> None:
        if self.role != CENTRAL:
            self.signalling.reject(identifier)  # 4.20: only a peripheral may ask
        elif self._parameters_identifier or not _are_legal(untrusted):
            self.signalling.respond(identifier, ParameterUpdateResponse(PARAMETERS_REJECTED))
        else:
            self._parameters_identifier = identifier
            request = untrusted
            self.shared.events.append(
                ParametersRequested(
                    self.handle, request.interval_min, request.interval_max, request.latency, request.timeout
                )
            )

    def _receive_fixed(self, untrusted_pdu: bytes, _now: float) -> None:
        self.shared.counters["pdus_on_fixed_channels"] += 1
        cid = int.from_bytes(untrusted_pdu[2:4], "little")
        pdu = fixed.answer(self.transport, cid, untrusted_pdu)
        if pdu is not None and len(self.signalling.out) < self.shared.limits.signalling_backlog:
            self.signalling.out.append(pdu)


def _are_legal(untrusted: ParameterUpdateRequest) -> bool:
    return parameters_are_legal(untrusted.interval_min, untrusted.interval_max, untrusted.latency, untrusted.timeout)
