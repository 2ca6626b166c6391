"""A driver domain whose backend lies: the PSM that a guest connects to says how. It is honest in everything else.

``serve`` runs in the driver domain; ``serve_with_nodes`` in its place publishes nodes that cannot be.
"""

from __future__ import annotations

import os
import signal
import struct
from collections import deque
from collections.abc import Callable, Mapping

from tests.support import echo_backend
from tests.support.echo_backend import Channel, Driver
from usbbtd.l2capif import calls, messages, wire
from usbbtd.l2capif.nodes import VL2CAP
from usbbtd.xen.device import XenbusDevice
from usbbtd.xen.xen import Xen
from usbbtd.xenbus import Action

#: Changes the octets of a response to CONNECT.
Mangle = Callable[[bytearray], None]


def _put(layout: str, offset: int, value: int) -> Mangle:
    return lambda octets: struct.pack_into(layout, octets, offset, value)


#: By PSM: what is wrong, and how the response gets so.
RESPONSES: dict[int, tuple[str, Mangle]] = {
    0x2001: ("a request that is not in flight", _put("<I", 0, 0xFFFF_FFF0)),
    0x2003: ("another command", _put("<I", 4, 2)),
    0x2005: ("another id", _put("<I", 8, 77)),
    0x2007: ("a positive error", _put("<i", 12, 5)),
    0x2009: ("an error number beyond all", _put("<i", 12, -5000)),
    0x200B: ("an address type that does not exist", _put("<B", 22, 9)),
    0x200D: ("the other transport", _put("<B", 22, 2)),
    0x200F: ("a level that does not exist", _put("<B", 23, 5)),
    0x2011: ("another PSM", _put("<H", 24, 0x81)),
    0x2013: ("a tx_mtu below all", _put("<H", 26, 47)),
    0x2015: ("an rx_mtu above what was asked", _put("<H", 28, 1001)),
    0x2201: ("more responses than requests", lambda octets: None),
    0x2203: ("responses that go back", lambda octets: None),
}
#: By PSM of an index of the command ring: how far rsp_prod is from what it should be.
PRODUCED = {0x2201: 40, 0x2203: -40}

#: By PSM: what is wrong, and which words of the indices page are what.
RINGS: dict[int, tuple[str, dict[int, int]]] = {
    0x3001: ("more octets than there is room for", {0: 0x7FFF_FFFF}),
    0x3003: ("octets that go back", {0: 0xFFFF_FFFF}),
    0x3005: ("no room for a length", {0: 3}),
    0x3007: ("a message longer than what is there", {0: 8}),
    0x3009: ("consumed more than was sent", {192: 4096}),
    0x300B: ("consumption that goes back", {192: 0xFFFF_FFF0}),
}
#: On this PSM, SDUs of no octets fill the ring whenever there is room.
ENDLESS = 0x3201
LONG_LENGTH = struct.pack("<II", 0xFFFF_FFFF, 0)


def name_of(psm: object) -> str:
    """Returns what is wrong with a PSM, for the name of a test."""
    assert isinstance(psm, int)
    return (RESPONSES.get(psm) or RINGS[psm])[0].replace(" ", "-")


class LyingChannel(Channel):
    """A channel whose indices are wrong before the guest has its response, and which does nothing else."""

    def __init__(self, driver: Driver, call: calls.ConnectCall, psm: int) -> None:
        super().__init__(driver, call, psm)
        _, words = RINGS[psm]
        self.data.memory[: len(LONG_LENGTH)] = LONG_LENGTH
        for offset, word in words.items():
            struct.pack_into("<I", self.indices.memory, offset, word)

    def start(self) -> None:
        self.event_channel.notify()

    def work(self) -> None:
        """Is called for events, which it passes over."""


#: Names of devices that advertise, and what of them is harmless for a terminal.
NAMES = {
    b"\x1b[2J": "?[2J",
    b"a\xc2\x9b2J": "a?2J",
    b"\x9b2J": "?2J",
    b"\xe2\x80\xaetxt": "?txt",
    b"\xc0\x8a\xed\xa0\x80": "?????",
    "caf\u00e9 \u6771 \U0001f3a7".encode(): "caf\u00e9 \u6771 \U0001f3a7",
    b"x" + "\u6771".encode() * 21: "x" + "\u6771" * 20 + "??",
}


def _advertising(number: int, name: bytes) -> bytes:
    data = bytes([1 + len(name), 9]) + name
    report = messages.ExtendedReport(bytes([number, 0, 0, 0, 0, 0xC0]), 2, 0, 0, -50, 0, data)
    return messages.pack_extended_report(report)


class EndlessChannel(Channel):
    """A channel that fills the ring from a process of its own, which nothing holds up, until it is closed."""

    def start(self) -> None:
        driver = os.getpid()
        self._filler = os.fork()
        if self._filler:
            return
        size = len(self.data.memory) // 2
        words = memoryview(self.indices.memory).cast("B").cast("I")
        while os.getppid() == driver:
            words[0] = (words[16] + size) & 0xFFFF_FFFF
        os._exit(0)

    def work(self) -> None:
        """Is called for events, which it passes over."""

    def close(self) -> None:
        os.kill(self._filler, signal.SIGKILL)
        os.waitpid(self._filler, 0)
        super().close()


class Liar(Driver):
    lie: int | None = None

    def do(self, call: calls.Call) -> Channel | None:
        match call:
            case calls.ConnectCall(psm=psm) if psm in RESPONSES:
                self.lie = psm
            case calls.ConnectCall(req_id, number, psm=psm) if psm in RINGS:
                self.channels[number] = LyingChannel(self, call, psm)
                tx_mtu = echo_backend.TX_MTU
                self.backend.complete_channel(req_id, call.address, call.address_type, psm, tx_mtu, call.mtu)
                return self.channels[number]
            case calls.ConnectCall(req_id, number, psm=psm) if psm == ENDLESS:
                self.channels[number] = EndlessChannel(self, call, psm)
                tx_mtu = echo_backend.TX_MTU
                self.backend.complete_channel(req_id, call.address, call.address_type, psm, tx_mtu, call.mtu)
                return self.channels[number]
            case calls.ScanCall(_, number):
                super().do(call)
                self.channels[number].outbox = deque(map(_advertising, range(len(NAMES)), NAMES))
                return self.channels[number]
        return super().do(call)

    def respond(self) -> None:
        responses = self.backend.take_responses()
        if self.lie is not None:
            (_, mangle), produced = RESPONSES[self.lie], PRODUCED.get(self.lie, 0)
            octets = bytearray(responses.pop())
            assert len(octets) == wire.RESPONSE_SIZE
            mangle(octets)
            responses.append(bytes(octets))
            self.lie = None
            self.ring.put(responses)
            (index,) = struct.unpack_from("<I", self.page.memory, 8)
            struct.pack_into("<I", self.page.memory, 8, (index + produced) % (1 << 32))
            self.event_channel.notify()
        elif responses and self.ring.put(responses):
            self.event_channel.notify()


class Misinformer(Driver):
    """Publishes nodes with other values than it should, or leaves them out: None."""

    wrong: Mapping[str, str | None]

    async def perform(self, action: Action) -> Mapping[str, str] | None:
        nodes = await super().perform(action)
        if action is not Action.PUBLISH or nodes is None:
            return nodes
        return {node: value for node, value in {**nodes, **self.wrong}.items() if value is not None}


async def serve_with_nodes(guest: int, wrong: Mapping[str, str | None]) -> None:
    """The backend of the guest's device 0, with such nodes, until it is killed."""
    async with Xen.open() as xen:
        device = XenbusDevice(xen.store, "backend", VL2CAP.backend_path(guest, 0))
        driver = Misinformer(xen, device, powered=True, tells=False, modern=True)
        driver.wrong = wrong
        await device.run(driver.perform)


async def serve(guest: int) -> None:
    """The backend of the guest's device 0, until it is killed."""
    async with Xen.open() as xen:
        device = XenbusDevice(xen.store, "backend", VL2CAP.backend_path(guest, 0))
        await device.run(Liar(xen, device, powered=True, tells=False, modern=True).perform)
