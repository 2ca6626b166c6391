"""What stands on the other side of a Mux: a peer of bytes that a test scripts, or another Mux."""

from collections.abc import Callable
from struct import Struct
from typing import Any

import pytest

from usbbtd.bluetooth import BREDR, CENTRAL, LE, PERIPHERAL
from usbbtd.l2cap import events
from usbbtd.l2cap.limits import L2capLimits
from usbbtd.l2cap.mux import Mux
from usbbtd.l2cap.options import mtu_option
from usbbtd.l2cap.wire import (
    ConfigurationRequest,
    ConfigurationResponse,
    ConnectionResponse,
    L2capConnectionRequest,
    LeConnectionRequest,
    LeConnectionResponse,
    SignallingCommand,
)

HANDLE = 0x0042
PSM = (0x1001, 0x0080)
SIGNALLING = (1, 5)
HEADER = Struct("<HH")
COMMAND = Struct("<BBH")


class Peer:
    """A peer of bytes on one link of a Mux. ``now`` is the Mux's clock."""

    handle = HANDLE
    dcid = 0x0070  # the peer's end of the channel that the helpers open

    def __init__(
        self, transport: int = BREDR, role: int = CENTRAL, limits: L2capLimits | None = None, *, security: bool = False
    ) -> None:
        self.transport = transport
        self.psm = PSM[transport]
        self.now = 100.0
        self.mux = Mux(limits=limits or L2capLimits(), security=security)
        self.mux.add_link(HANDLE, transport, role, self.now)
        self._identifier = 0

    # -- to the mux

    def send_pdu(self, cid: int, payload: bytes) -> None:
        self.mux.receive_pdus(HANDLE, [HEADER.pack(len(payload), cid) + payload], self.now)

    def send_frame(self, payload: bytes) -> None:
        """A C-frame with any content."""
        self.send_pdu(SIGNALLING[self.transport], payload)

    def send(self, command: SignallingCommand, identifier: int | None = None) -> int:
        """A command; with an identifier of its own where none is given."""
        if identifier is None:
            self._identifier = identifier = self._identifier % 255 + 1
        self.send_frame(command.pack(identifier))
        return identifier

    def pass_time(self, seconds: float) -> None:
        """Time goes by, and the Mux is woken whenever it wants to be."""
        end = self.now + seconds
        while (due := self.mux.next_timeout()) is not None and due <= end:
            self.now = max(self.now, due)
            self.mux.handle_timeout(self.now)
        self.now = end

    # -- from the mux

    def take_pdus(self) -> list[tuple[int, bytes]]:
        """(cid, payload)"""
        taken = []
        for pdu in self.mux.take_pdus(HANDLE, 1000):
            length, cid = HEADER.unpack_from(pdu)
            assert length == len(pdu) - 4
            taken.append((cid, pdu[4:]))
        return taken

    def take(self) -> list[tuple[int, SignallingCommand]]:
        """(identifier, command) of each PDU there is; all of them must be signalling, one command in each."""
        taken = []
        for cid, payload in self.take_pdus():
            assert cid == SIGNALLING[self.transport]
            code, identifier, length = COMMAND.unpack_from(payload)
            assert identifier
            assert length == len(payload) - 4
            taken.append((identifier, SignallingCommand.registry[code].parse(payload[4:])))
        return taken

    def take_one(self) -> tuple[int, SignallingCommand]:
        (taken,) = self.take()
        return taken

    def events(self) -> list[events.Event]:
        return self.mux.take_events()

    def state(self, cid: int) -> str | None:
        for row in self.mux.channels():
            if row.cid == cid:
                return row.state
        return None

    # -- channels

    def ask(self, **parameters: int) -> int:
        """The peer asks for a channel; returns the Mux's cid, before its answer."""
        if (self.transport, self.psm) not in self.mux._shared.listeners:
            self.mux.listen(self.transport, self.psm)
        if self.transport == LE:
            values = {"mtu": 512, "mps": 128, "credits": 10} | parameters
            self.send(LeConnectionRequest(self.psm, self.dcid, values["mtu"], values["mps"], values["credits"]))
        else:
            self.send(L2capConnectionRequest(self.psm, self.dcid))
        (event,) = self.events()
        assert isinstance(event, events.ChannelRequested)
        return event.cid

    def configure(self, cid: int, mtu: int = 672) -> None:
        """Both configurations of a BR/EDR channel, after the Mux sent its request."""
        identifier, request = self.take()[-1]
        assert isinstance(request, ConfigurationRequest)
        self.send(ConfigurationResponse(cid, 0, 0, request.options), identifier)
        self.send(ConfigurationRequest(cid, 0, mtu_option(mtu)))
        _, response = self.take_one()
        assert isinstance(response, ConfigurationResponse)
        assert response.result == 0

    def open(self, mtu: int = 1024, **parameters: int) -> int:
        """A channel that the peer asked for, open; nothing is left to take."""
        cid = self.ask(**parameters)
        self.mux.accept(HANDLE, cid, mtu, self.now)
        if self.transport == LE:
            self.take()
        else:
            self.configure(cid, **parameters)
        (event,) = self.events()
        assert isinstance(event, events.ChannelOpened)
        return cid

    def open_by_mux(self, mtu: int = 1024, **parameters: int) -> int:
        """A channel that the Mux asked for, open; nothing is left to take."""
        cid = self.mux.connect(HANDLE, self.psm, mtu, self.now)
        identifier, _ = self.take_one()
        if self.transport == LE:
            values = {"mtu": 512, "mps": 128, "credits": 10} | parameters
            response = LeConnectionResponse(self.dcid, values["mtu"], values["mps"], values["credits"], 0)
            self.send(response, identifier)
        else:
            self.send(ConnectionResponse(self.dcid, cid, 0, 0), identifier)
            self.configure(cid, **parameters)
        (event,) = self.events()
        assert isinstance(event, events.ChannelOpened)
        return cid


class Pair:
    """Two Muxes on the same links; ``run`` carries PDUs until neither has any."""

    handle = HANDLE

    def __init__(self, transport: int = BREDR, limits: L2capLimits | None = None) -> None:
        self.transport = transport
        self.psm = PSM[transport]
        self.now = 0.0
        self.a = Mux(limits=limits or L2capLimits())
        self.b = Mux(limits=limits or L2capLimits())
        self.a.add_link(HANDLE, transport, CENTRAL, self.now)
        self.b.add_link(HANDLE, transport, PERIPHERAL, self.now)

    def run(self, limit: int = 8) -> None:
        while self.step(self.a, self.b, limit) | self.step(self.b, self.a, limit):
            pass

    def step(self, source: Mux, sink: Mux, limit: int) -> bool:
        pdus = source.take_pdus(HANDLE, limit)
        sink.receive_pdus(HANDLE, pdus, self.now)
        return bool(pdus)

    def open(self, mtu_a: int = 1000, mtu_b: int = 1000) -> tuple[int, int]:
        """A channel that ``a`` asked for: its two ends."""
        self.b.listen(self.transport, self.psm)
        cid_a = self.a.connect(HANDLE, self.psm, mtu_a, self.now)
        self.run()
        (requested,) = self.b.take_events()
        assert isinstance(requested, events.ChannelRequested)
        self.b.accept(HANDLE, requested.cid, mtu_b, self.now)
        self.run()
        self.b.unlisten(self.transport, self.psm)
        assert [type(event) for mux in (self.a, self.b) for event in mux.take_events()] == [events.ChannelOpened] * 2
        return cid_a, requested.cid


@pytest.fixture(scope="session")
def peer() -> Callable[..., Any]:
    return Peer


@pytest.fixture(scope="session")
def pair() -> Callable[..., Any]:
    return Pair
