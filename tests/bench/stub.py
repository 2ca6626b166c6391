"""A controller of bytes with a remote device behind it: what both hosts talk to, and no work for either of them.

It answers the commands with which a host sets itself up and connects. The remote device is our own L2CAP: it accepts
the host's channel, makes the bytes that the host is to receive, and understands what the host has sent.
"""

import struct

from usbbtd.bluetooth import BREDR, PERIPHERAL
from usbbtd.hci.acl import AclData
from usbbtd.l2cap.channel import L2capChannelInfo
from usbbtd.l2cap.events import ChannelRequested
from usbbtd.l2cap.limits import L2capLimits
from usbbtd.l2cap.mux import Mux
from usbbtd.l2cap.wire import BASIC_HEADER, CID_LE_SIGNALLING, FlowControlCredit

PSM = (0x1001, 0x0080)
MTU, MPS = 2048, 1024

#: The controller's buffers.
ACL_COUNT = 8

HANDLE = 0x0040
REMOTE = bytes.fromhex("110000eeffc0")

_sdu_length = struct.Struct("<H")

_COMMAND_COMPLETE, _COMMAND_STATUS = 0x0E, 0x0F
_CREATE_CONNECTION, _LE_CREATE_CONNECTION = 0x0405, 0x200D

#: Supported commands by octet and bit (Vol 4, Part E, 6.27): those that a host needs for L2CAP.
_SUPPORTED = ((5, 7), (14, 3), (14, 5), (14, 7), (15, 1), (25, 0), (25, 1), (25, 2), (25, 4), (26, 1), (26, 3), (26, 4))
_FEATURES = 1 << 38  # LE, beside BR/EDR


def completed(count: int) -> bytes:
    """Number_Of_Completed_Packets for our link."""
    return struct.pack("<BBBHH", 0x13, 5, 1, HANDLE, count)


class StubController:
    """One link on one transport. ``sent``: the ACL packets that the host has sent. No packet has H4's first octet."""

    def __init__(self, transport: int, acl_size: int) -> None:
        self.sent: list[bytes] = []
        self._events: list[bytes] = []
        self._acl: list[bytes] = []
        self.transport = transport
        self._mux = Mux(limits=L2capLimits(mps=MPS))
        self._mux.listen(transport, PSM[transport])
        self._mux.add_link(HANDLE, transport, PERIPHERAL, 0)
        self._fragments = AclData()
        self._fragments.configure((acl_size, 1 << 15), None, non_flushable=False)
        self._fragments.add(HANDLE, REMOTE, BREDR, PERIPHERAL, 0)  # a controller's first fragments all have flag 0b10
        supported = bytearray(64)
        for octet, bit in _SUPPORTED:
            supported[octet] |= 1 << bit
        buffers = struct.pack("<HBHH", acl_size, 0, ACL_COUNT, 0)
        self._answers = {
            0x1001: struct.pack("<BHBHH", 9, 0, 9, 0, 0),
            0x1002: bytes(supported),
            0x1003: struct.pack("<Q", _FEATURES),
            0x1005: buffers,
            0x1009: bytes.fromhex("010000eeffc0"),
            0x2002: struct.pack("<HB", acl_size, ACL_COUNT),
            0x2003: bytes(8),
            0x201C: b"\xff" * 8,
        }

    # From the host

    def receive_command(self, command: bytes) -> None:
        (opcode,) = struct.unpack_from("<H", command)
        if opcode not in (_CREATE_CONNECTION, _LE_CREATE_CONNECTION):
            parameters = struct.pack("<BHB", 1, opcode, 0) + self._answers.get(opcode, b"")
            self._events.append(bytes((_COMMAND_COMPLETE, len(parameters))) + parameters)
            return
        self._events.append(struct.pack("<BBBBH", _COMMAND_STATUS, 4, 0, 1, opcode))
        if opcode == _CREATE_CONNECTION:
            self._events.append(struct.pack("<BBBH6sBB", 0x03, 11, 0, HANDLE, REMOTE, 1, 0))
        else:
            self._events.append(struct.pack("<BBBBHBB6sHHHB", 0x3E, 19, 1, 0, HANDLE, 0, 1, REMOTE, 24, 0, 500, 0))

    def receive_signalling(self) -> None:
        """Lets the remote device answer what the host has sent so far."""
        if self.sent:
            self._events.append(completed(len(self.sent)))
        self._mux.receive_pdus(HANDLE, self._take_sent(), 0)
        for event in self._mux.take_events():
            if isinstance(event, ChannelRequested):
                self._mux.accept(HANDLE, event.cid, MTU, 0)
        self._acl += self._packets(self._mux.take_pdus(HANDLE, 100))

    @property
    def busy(self) -> bool:
        """Something is under way, either way."""
        return bool(self._events or self._acl or self.sent)

    def take(self) -> tuple[list[bytes], list[bytes]]:
        """Events and ACL packets for the host."""
        taken = self._events, self._acl
        self._events, self._acl = [], []
        return taken

    # The remote device's data, for the measurements

    def credits_for(self, sdus: list[bytes]) -> list[bytes]:
        """The packets with which the remote device lets the host send these SDUs; on BR/EDR none are needed."""
        if self.transport == BREDR:
            return []
        frames = sum(-(-(_sdu_length.size + len(sdu)) // MPS) for sdu in sdus)
        command = FlowControlCredit(self._channel().cid, frames).pack(0x7F)
        return self._packets([BASIC_HEADER.pack(len(command), CID_LE_SIGNALLING) + command])

    def encode(self, sdus: list[bytes]) -> list[bytes]:
        """ACL packets with these SDUs for the host."""
        host_cid = self._channel().dcid
        pdus = []
        for sdu in sdus:
            data, size = (sdu, MTU) if self.transport == BREDR else (_sdu_length.pack(len(sdu)) + sdu, MPS)
            segments = [data[start : start + size] for start in range(0, len(data) or 1, size)]
            pdus += [BASIC_HEADER.pack(len(segment), host_cid) + segment for segment in segments]
        return self._packets(pdus)

    def take_sdus(self) -> list[bytes]:
        """The SDUs in what the host has sent. ValueError: there is something else."""
        cid = self._channel().cid
        sdus: list[bytes] = []
        data = b""
        for pdu in self._take_sent():
            if BASIC_HEADER.unpack_from(pdu) != (len(pdu) - BASIC_HEADER.size, cid):
                raise ValueError(f"the host sent {pdu.hex()}")
            data += pdu[BASIC_HEADER.size :]
            if self.transport == BREDR:
                sdus.append(data)
            elif len(data) == _sdu_length.size + _sdu_length.unpack_from(data)[0]:
                sdus.append(data[_sdu_length.size :])
            else:
                continue
            data = b""
        return sdus

    def _channel(self) -> L2capChannelInfo:
        (channel,) = self._mux.channels()
        return channel

    def _packets(self, pdus: list[bytes]) -> list[bytes]:
        self._fragments.send_pdus(HANDLE, pdus)
        packets = self._fragments.take(0)
        self._fragments.completed(completed(len(packets)))
        return packets

    def _take_sent(self) -> list[bytes]:
        """PDUs."""
        self._fragments.receive(self.sent, 0)
        self.sent.clear()
        return [pdu for _, pdus in self._fragments.take_pdus() for pdu in pdus]
