"""Handles what a peer begins on a link: requests for channels, questions, and PDUs on fixed channels."""

from usbbtd.bluetooth import BredrResult, LeResult
from usbbtd.l2cap import fixed
from usbbtd.l2cap.modes.credit_based import CreditBasedMode
from usbbtd.l2cap.opening import BredrOpening, LeOpening, Link, parameters_are_valid, refuse_bredr, refuse_le
from usbbtd.l2cap.receiver import PduReceiver
from usbbtd.l2cap.wire import (
    CID_SIGNALLING,
    DYNAMIC_CIDS,
    INFORMATION_EXTENDED_FEATURES,
    INFORMATION_FIXED_CHANNELS,
    INFORMATION_NOT_SUPPORTED,
    INFORMATION_SUCCESS,
    ConfigurationRequest,
    DisconnectionRequest,
    FlowControlCredit,
    InformationRequest,
    InformationResponse,
    L2capConnectionRequest,
    L2capEchoRequest,
    L2capEchoResponse,
    LeConnectionRequest,
    ParameterUpdateRequest,
    SignallingCommand,
)

#: The commands that a peer may begin with, by transport (Table 4.2).
_CODES = tuple(
    frozenset(command.CODE for command in commands)
    for commands in (
        (L2capConnectionRequest, ConfigurationRequest, DisconnectionRequest, L2capEchoRequest, InformationRequest),
        (LeConnectionRequest, FlowControlCredit, DisconnectionRequest, ParameterUpdateRequest),
    )
)

_INVALID_SOURCE_CID = (BredrResult.INVALID_SOURCE_CID, LeResult.INVALID_SOURCE_CID)
_SOURCE_CID_ALLOCATED = (BredrResult.SOURCE_CID_ALLOCATED, LeResult.SOURCE_CID_ALLOCATED)

# 4.12 and 4.13: the only feature is "fixed channels supported", the only such channel is that of signalling
_INFORMATION = {
    INFORMATION_EXTENDED_FEATURES: (1 << 7).to_bytes(4, "little"),
    INFORMATION_FIXED_CHANNELS: (1 << CID_SIGNALLING).to_bytes(8, "little"),
}


class PeerRequests(PduReceiver):
    """Handles the peer's requests on one link's signalling channel, and PDUs on fixed channels that are not served."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self._signalling = link.signalling
        self._counters = link.shared.counters
        link.signalling.serve(_CODES[link.transport], self._receive)
        link.receivers.update(dict.fromkeys(fixed.FIXED_CIDS[link.transport], self))

    def _receive(self, untrusted: SignallingCommand, identifier: int, now: float) -> None:
        match untrusted:
            case L2capConnectionRequest():
                self._receive_connection(untrusted, identifier, now)
            case LeConnectionRequest():
                self._receive_le_connection(untrusted, identifier, now)
            case ConfigurationRequest():
                channel = self._link.channels.get(untrusted.dcid)
                if channel is not None and channel.configuration is not None:
                    channel.configuration.requested(identifier, untrusted, now)
                else:
                    self._signalling.reject_cid(identifier, untrusted.dcid, 0)
            case DisconnectionRequest():
                self._receive_disconnection(untrusted, identifier)
            case FlowControlCredit():
                channel = self._link.peers.get(untrusted.cid)
                if channel is not None and isinstance(channel.mode, CreditBasedMode):
                    channel.mode.credits_received(untrusted.credits, now)
                else:
                    self._counters["signalling_ignored"] += 1
            case L2capEchoRequest():
                self._signalling.respond(identifier, L2capEchoResponse(untrusted.data))
            case InformationRequest():
                data = _INFORMATION.get(untrusted.type)
                result = INFORMATION_NOT_SUPPORTED if data is None else INFORMATION_SUCCESS
                self._signalling.respond(identifier, InformationResponse(untrusted.type, result, data or b""))
            case ParameterUpdateRequest():
                self._link.parameters.received(untrusted, identifier)

    def _receive_connection(self, untrusted: L2capConnectionRequest, identifier: int, now: float) -> None:
        result = self._why_not(untrusted.psm, untrusted.scid)
        if result:
            self._signalling.respond(identifier, refuse_bredr(untrusted.scid, result))
        elif cid := self._link.new_cid():
            BredrOpening(self._link, cid, untrusted.psm).requested(identifier, untrusted, now)
        else:
            self._signalling.respond(identifier, refuse_bredr(untrusted.scid, BredrResult.NO_RESOURCES))

    def _receive_le_connection(self, untrusted: LeConnectionRequest, identifier: int, now: float) -> None:
        result = self._why_not(untrusted.spsm, untrusted.scid)
        if not result and not parameters_are_valid(untrusted):
            result = LeResult.UNACCEPTABLE_PARAMETERS
        if result:
            self._signalling.respond(identifier, refuse_le(result))
        elif cid := self._link.new_cid():
            LeOpening(self._link, cid, untrusted.spsm).requested(identifier, untrusted, now)
        else:
            self._signalling.respond(identifier, refuse_le(LeResult.NO_RESOURCES))

    def _why_not(self, untrusted_psm: int, untrusted_scid: int) -> int:
        """Returns the result that refuses a request for a channel, or success."""
        link = self._link
        if (link.transport, untrusted_psm) not in link.shared.listeners:
            return BredrResult.PSM_NOT_SUPPORTED  # the same number on LE
        if untrusted_scid not in DYNAMIC_CIDS[link.transport]:
            return _INVALID_SOURCE_CID[link.transport]
        if untrusted_scid in link.peers:
            return _SOURCE_CID_ALLOCATED[link.transport]
        return BredrResult.SUCCESS

    def _receive_disconnection(self, untrusted: DisconnectionRequest, identifier: int) -> None:
        channel = self._link.channels.get(untrusted.dcid)
        if channel is None or untrusted.dcid not in DYNAMIC_CIDS[self._link.transport]:
            self._signalling.reject_cid(identifier, untrusted.dcid, untrusted.scid)
        elif not channel.dcid or channel.dcid != untrusted.scid:
            self._counters["signalling_ignored"] += 1  # 4.6: only half of the pair is right
        else:
            channel.disconnected_by_peer(identifier)

    def receive(self, untrusted_pdu: bytes, now: float) -> None:
        self._counters["pdus_on_fixed_channels"] += 1
        cid = int.from_bytes(untrusted_pdu[2:4], "little")
        pdu = fixed.answer(self._link.transport, cid, untrusted_pdu)
        if pdu is not None and len(self._signalling.out) < self._link.shared.limits.signalling_backlog:
            self._signalling.out.append(pdu)
