"""The backend of a guest's device, octet by octet: it answers, writes and lies when a test says so.

For test_wake_ups.py, in one process with the guest.
"""

import errno
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from tests.support import plain_xen
from usbbtd.abi.layout import constants, size_of
from usbbtd.backends.vl2cap.stream import GuestStream
from usbbtd.errors import LocalProtocolError, RemoteProtocolError
from usbbtd.l2capif import messages, wire
from usbbtd.l2capif.features import KNOWS_ALL
from usbbtd.l2capif.nodes import EVENT_CHANNEL, RING_REF
from usbbtd.xen.error import XenError
from usbbtd.xen.ring import BackRing

GUEST = 7
OCTETS = bytes.fromhex("010000eeffc0")
MTU = 1500  # two fill a ring
RELEASE, ADVERTISE = 4, 6
REQUESTS = (
    wire.InfoRequest, wire.ConnectRequest, wire.ListenRequest, wire.AcceptRequest, wire.PlainRequest, wire.ScanRequest,
    wire.AdvertiseRequest, wire.AgentRequest, wire.EchoRequest, wire.PairRequest,
)  # fmt: skip
REPORT = messages.pack_report(messages.ScanReport(OCTETS, 2, -40, 0, b"\x02\x01\x06"))
PROMPTS = [messages.pack_prompt(messages.PromptMessage(1, kind, OCTETS, 2, 0, 1000)) for kind in range(6)]
MESSAGES = [REPORT, REPORT, *PROMPTS]
INDICES_SIZE = 2 * size_of("struct l2capif_half")


class Xen(plain_xen.PlainXen):
    """``poor``: has no page to share."""

    poor = False

    def share(self, domid: int, count: int) -> plain_xen.PlainPages:
        if self.poor:
            raise XenError(errno.ENOSPC, "no page is left")
        return super().share(domid, count)


class Shared:
    """The backend's end of a data ring, with its page of indices laid open."""

    def __init__(self, xen: Any, request: Any) -> None:
        self.stream = GuestStream(xen, GUEST, request.ref, request.evtchn, 5, lambda: None)
        self.indices = xen.map(GUEST, [request.ref])
        self.scribbled = False

    def scribble(self, at: int, octets: bytes) -> None:
        self.scribbled = True
        self.indices.memory[at : at + len(octets)] = octets

    def finish(self) -> None:
        """The guest has no more to wait for."""
        with suppress(RemoteProtocolError, LocalProtocolError):
            self.stream.end(-errno.ENOTCONN)
        if self.scribbled:
            self.scribble(0, b"\x7f" * INDICES_SIZE)
        self.stream.notify()

    def close(self) -> None:
        self.stream.close()
        self.indices.close()


class Backend:
    """The other end of one connection, which does what it is told to."""

    def __init__(self, xen: Any, nodes: Mapping[str, str]) -> None:
        self.xen = xen
        self.page = xen.map(GUEST, [int(nodes[RING_REF])])
        self.ring = BackRing(self.page.memory, wire.REQUEST_SIZE, wire.RESPONSE_SIZE)
        self.channel = xen.bind_interdomain(GUEST, int(nodes[EVENT_CHANNEL]), lambda: None)
        self.asked: list[Any] = []  # and not answered yet
        self.listeners: dict[int, wire.ListenRequest] = {}
        self.streams: dict[int, Shared] = {}
        self.generation = 1

    def take(self) -> None:
        for octets in self.ring.take():
            header = wire.unpack(wire.PlainRequest, octets)
            extended = header.cmd == ADVERTISE and header.flags & constants.L2CAPIF_ADVERTISE_EXTENDED
            kind = wire.AdvertiseExtendedRequest if extended else REQUESTS[header.cmd]
            self.asked.append(wire.unpack(kind, octets))

    def answer(self, which: int, ret: int, lie: tuple[str, Any] | None = None) -> None:
        """Answers a request, honestly unless there is a ``lie``: (field, value). To notify is another step."""
        if not self.asked:
            return
        request = self.asked[-1 - which % len(self.asked)]
        if request.cmd == RELEASE and not lie:
            # What it ends is answered first.
            request = next((each for each in self.asked if each.req_id == request.id), request)
        response = self.response_to(request, ret)
        if lie and hasattr(response, lie[0]):
            response = response._replace(**dict([lie]))
        self.asked.remove(request)
        if response.ret == 0 or request.cmd == RELEASE:
            self.obey(request)
        self.ring.put([wire.pack(response)])

    def response_to(self, request: Any, ret: int) -> Any:
        header = request.req_id, request.cmd, request.id, ret
        match request:
            case wire.InfoRequest():
                powered, generation = self.generation % 2, self.generation
                return wire.InfoResponse(*header, OCTETS, 0, powered, KNOWS_ALL | 15, 64, 0, MTU, OCTETS, generation, 2)
            case wire.ConnectRequest():
                return wire.ChannelResponse(
                    *header,
                    OCTETS,
                    request.address_type,
                    request.security,
                    request.psm,
                    MTU,
                    request.mtu,
                    -ret & 0xF,
                    -ret & 0x3F,
                )
            case wire.AcceptRequest(listener=number) if number in self.listeners:
                of = self.listeners[number]
                return wire.ChannelResponse(*header, OCTETS, 2 * of.transport, of.security, of.psm, MTU, of.mtu)
            case wire.AcceptRequest():
                return wire.ChannelResponse(*header[:3], -errno.ENOTCONN)
            case wire.PairRequest():
                return wire.PairResponse(*header, max(request.security, 2), 16, 1, -ret & 0x3F, -ret & 0xF, 2)
        return wire.PlainResponse(*header)

    def obey(self, request: Any) -> None:
        match request:
            case wire.ListenRequest():
                self.listeners[request.id] = request
            case wire.ConnectRequest() | wire.AcceptRequest() | wire.ScanRequest() | wire.AgentRequest():
                self.streams[request.id] = Shared(self.xen, request)
            case wire.PlainRequest():
                self.listeners.pop(request.id, None)
                if (stream := self.streams.pop(request.id, None)) is not None:
                    stream.close()

    def answer_all(self) -> None:
        """With success, all but who waits for a change that has not come."""
        self.take()
        due = [request for request in self.asked if getattr(request, "generation", 0) != self.generation]
        while due:
            self.answer(self.asked.index(due[0]), 0)
            due = [request for request in due if request in self.asked]
        for stream in self.streams.values():
            stream.finish()
        self.channel.notify()

    def close(self) -> None:
        for stream in self.streams.values():
            stream.close()
        self.channel.close()
        self.ring.close()
        self.page.close()
