"""A driver domain in one process: real rings, the real backend core, and peers that do what their PSM says.

``serve`` runs in the driver domain.
"""

from __future__ import annotations

import errno
from collections import deque
from collections.abc import Mapping

from usbbtd.abi import layout
from usbbtd.abi.layout import constants
from usbbtd.l2capif import calls, messages, wire
from usbbtd.l2capif.backend import Backend
from usbbtd.l2capif.features import KNOWS_ALL
from usbbtd.l2capif.limits import FrontendLimits
from usbbtd.l2capif.nodes import (
    EVENT_CHANNEL,
    FEATURE_ECHO,
    FEATURE_INFO_WAIT,
    MAX_PAGE_ORDER,
    RING_REF,
    VERSIONS,
    VL2CAP,
)
from usbbtd.xen.dataring import DataRing
from usbbtd.xen.device import XenbusDevice
from usbbtd.xen.ring import BackRing
from usbbtd.xen.xen import Xen
from usbbtd.xenbus import Action

ECHO = 0x1001
REFUSES = 0x1003
FORBIDDEN = 0x1005
SILENT = 0x1007
NEVER_ANSWERS = 0x1009
DEAF = 0x100B  # reads once the guest has sent something to REPORTS
FLOODS = 0x100D
REPORTS = 0x100F  # answers each SDU with how many SDUs FLOODS has sent
SAYS_GOODBYE = 0x1011
LIES = 0x1013
LOST = 0x1015
TAKEN = 0x1017  # to listen on

ASKS = 0x101B  # an agent
INSECURE = 0x101D  # and so is who is to be paired with

# Numbers of prompts: of a PAIR, and the first of a peer that comes.
PAIRING, COMES = 1000, 1
PASSKEY = 424242

NO_CHANNELS = {
    REFUSES: (errno.ECONNREFUSED, 2, 0),
    FORBIDDEN: (errno.EACCES, 0, 0),
    SILENT: (errno.ETIMEDOUT, 0, 4),
}

PEER = bytes.fromhex("010000eeffc0")
#: Devices of ``make play``, in which the programs of docs/guest-api.md print the same: by transport, who comes to a
#: listener; and who advertises.
CALLER = bytes.fromhex("120000eeffc0"), bytes.fromhex("120000f2f1f0")
ADVERTISER = bytes.fromhex("110000f2f1f0")
#: Peers that are asked for an L2CAP echo, and answer with other data or not at all.
OTHER_DATA = b"\2" + PEER[1:]
NOT_THERE = b"\4" + PEER[1:]
NO_ECHOES = {
    b"\3" + PEER[1:]: (errno.ECONNREFUSED, 0),
    NOT_THERE: (errno.ETIMEDOUT, 4),
    b"\5" + PEER[1:]: (errno.EACCES, 0),
}
NO_ANSWER = b"\6" + PEER[1:]
FLOOD_SDU = bytes(range(256)) * 4
GOODBYES = [b"one", b"", b"three"]
LIMITS = FrontendLimits(channels=8, max_page_order=4)
TX_MTU = 4096
INTF = layout.record("struct l2capif_data_intf").unpack_from
ORDER = 10


class Channel:
    def __init__(
        self, driver: Driver, call: calls.ConnectCall | calls.AcceptCall | calls.ScanCall | calls.AgentCall, psm: int
    ) -> None:
        self.psm = psm
        self.driver = driver
        self.indices = driver.xen.grants.map(driver.domid, [call.ref])
        fields = INTF(self.indices.memory)
        self.data = driver.xen.grants.map(driver.domid, fields[ORDER + 1 : ORDER + 1 + (1 << fields[ORDER])])
        self.ring = DataRing(self.indices.memory, self.data.memory, frontend=False)
        self.outbox: deque[bytes] = deque()
        self.sent = 0
        self.event_channel = driver.xen.evtchn.bind_interdomain(driver.domid, call.evtchn, self.work)

    def start(self) -> None:
        if self.psm == SAYS_GOODBYE:
            self.outbox += GOODBYES
            self.work()
            self.end(errno.ENOTCONN)
        elif self.psm == LOST:
            self.end(errno.ETIMEDOUT)
        elif self.psm == LIES:
            self.indices.memory[:4] = b"\xff\xff\xff\x7f"
            self.event_channel.notify()
        self.work()

    def work(self) -> None:
        while self.psm not in (DEAF, SAYS_GOODBYE, LOST):
            received, notify = self.ring.read()
            self.receive(received)
            if notify:
                self.event_channel.notify()
            if not received:
                break
        if self.psm == FLOODS and not self.outbox:
            self.outbox += [FLOOD_SDU] * 64
        while self.outbox:
            count, notify = self.ring.write(list(self.outbox))
            if notify:
                self.event_channel.notify()
            for _ in range(count):
                self.outbox.popleft()
            self.sent += count
            if self.outbox:
                break
            if self.psm == FLOODS:
                self.outbox += [FLOOD_SDU] * 64
        if self.psm in (ECHO, REPORTS) and not self.outbox and self.ring.peer_error:
            self.psm = LOST
            self.end(errno.ENOTCONN)

    def receive(self, received: list[bytes]) -> None:
        if self.psm == ASKS:
            self.driver.take_answers([messages.unpack_answer(each) for each in received])
        elif self.psm == REPORTS and received:  # an event may come without any
            for channel in self.driver.channels.values():
                channel.psm = ECHO if channel.psm == DEAF else channel.psm
                if channel is not self:
                    channel.work()
            flooded = sum(channel.sent for channel in self.driver.channels.values() if channel.psm == FLOODS)
            self.outbox += [str(flooded).encode() for _ in received]
        else:
            self.outbox += received

    def end(self, error: int) -> None:
        self.ring.set_error(-error)
        self.event_channel.notify()

    def close(self) -> None:
        self.event_channel.close()
        self.ring.close()
        self.data.close()
        self.indices.close()


class Driver:
    def __init__(self, xen: Xen, device: XenbusDevice, *, powered: bool, tells: bool, modern: bool) -> None:
        self.xen, self.device = xen, device
        self.powered, self.tells, self.modern = powered, tells, modern
        self.domid = -1
        self.channels: dict[int, Channel] = {}
        self.attached = False
        self.agent: Channel | None = None
        self.pairing: calls.PairCall | None = None  # while the agent is asked about it

    async def perform(self, action: Action) -> Mapping[str, str] | None:
        match action:
            case Action.PUBLISH:
                nodes = {VERSIONS: "1", MAX_PAGE_ORDER: str(LIMITS.max_page_order)}
                nodes |= {FEATURE_ECHO: "1"} if self.modern else {}
                return nodes | ({FEATURE_INFO_WAIT: "1"} if self.tells else {})
            case Action.ATTACH:
                self.domid = self.device.other_domid
                self.backend = Backend(LIMITS)
                ref = await self.device.read_other_int(RING_REF, 0, 1 << 32)
                port = await self.device.read_other_int(EVENT_CHANNEL, 0, 1 << 32)
                self.page = self.xen.grants.map(self.domid, [ref])
                self.ring = BackRing(self.page.memory, wire.REQUEST_SIZE, wire.RESPONSE_SIZE)
                self.event_channel = self.xen.evtchn.bind_interdomain(self.domid, port, self.work)
                self.attached = True
            case Action.DETACH:
                self.detach()
        return None

    def detach(self) -> None:
        if not self.attached:
            return
        self.attached = False
        for channel in self.channels.values():
            channel.close()
        self.channels.clear()
        self.event_channel.close()
        self.ring.close()
        self.page.close()

    def work(self) -> None:
        self.backend.receive_requests(self.ring.take())
        started: list[Channel | None] = []
        while pending := self.backend.take_calls():
            started += [self.do(call) for call in pending]
        self.respond()
        for channel in started:
            if channel is not None and channel in self.channels.values():  # not released in the same batch
                channel.start()

    def respond(self) -> None:
        responses = self.backend.take_responses()
        if responses and self.ring.put(responses):
            self.event_channel.notify()

    def power_up(self) -> None:
        if not self.powered:
            self.powered = True
            self.backend.change_info()

    def do(self, call: calls.Call) -> Channel | None:
        backend = self.backend
        match call:
            case calls.InfoCall(req_id):
                features = 0b1111 | (KNOWS_ALL if self.modern else 0)
                address = PEER[::-1] if self.powered else bytes(6)
                backend.complete_info(req_id, address, 0, powered=self.powered, features=features)
            case calls.ConnectCall(req_id, psm=psm, address=address) if psm in NO_CHANNELS or address == NOT_THERE:
                error, result, status = NO_CHANNELS[SILENT if address == NOT_THERE else psm]
                backend.fail(req_id, error, result=result, status=status)
            case calls.ConnectCall(req_id, security=security, psm=psm) if psm == INSECURE:
                backend.fail(req_id, errno.EPERM, why=constants.L2CAPIF_WHY_NO_AGENT, needed=max(security, 3))
            case calls.ConnectCall(psm=psm) if psm == NEVER_ANSWERS:
                pass
            case calls.ConnectCall(req_id, number):
                self.channels[number] = Channel(self, call, call.psm)
                backend.complete_channel(
                    req_id, call.address, call.address_type, call.psm, TX_MTU, call.mtu, call.security
                )
                return self.channels[number]
            case calls.PairCall():
                self.answer_pairing(call)
            case calls.EchoCall():
                self.answer_echo(call)
            case calls.ListenCall(req_id, psm=psm) if psm == TAKEN:
                backend.fail(req_id, errno.EADDRINUSE)
            case calls.ListenCall(req_id, number):
                self.listening = call
                backend.complete(req_id)
                backend.offer(number, number)
            case calls.AcceptCall(req_id, number):
                self.channels[number] = Channel(self, call, ECHO)
                transport = self.listening.transport
                backend.complete_channel(
                    req_id, CALLER[transport], 2 * transport, self.listening.psm, TX_MTU, call.mtu,
                    self.listening.security,
                )  # fmt: skip
                return self.channels[number]
            case _:
                return self.do_on_air(call)
        return None

    def do_on_air(self, call: calls.Call) -> Channel | None:
        backend = self.backend
        match call:
            case calls.ScanCall(req_id, number):
                self.channels[number] = scan = Channel(self, call, DEAF)
                scan.outbox += reports_of(call)
                backend.complete(req_id)
                return scan
            case calls.AgentCall(req_id, number):
                self.channels[number] = self.agent = Channel(self, call, ASKS)
                backend.complete(req_id)
                self.ask(COMES, constants.L2CAPIF_PROMPT_CONSENT, CALLER[1], 2)
                return self.agent
            case calls.AdvertiseCall(req_id) | calls.AdvertiseExtendedCall(req_id):
                backend.complete(req_id)
                self.power_up()
            case calls.ReleaseCall(req_id, number):
                if (channel := self.channels.pop(number, None)) is not None:
                    channel.close()
                    self.agent = None if channel is self.agent else self.agent
                backend.complete(req_id)
        return None

    def answer_pairing(self, call: calls.PairCall) -> None:
        if call.address == NOT_THERE:
            self.backend.fail(call.req_id, errno.ETIMEDOUT, status=4)
        elif call.oob or call.address == ADVERTISER:  # which shows nothing, so nothing is asked
            self.backend.complete_pairing(call.req_id, call.security, 16, bonded=True)
        elif self.agent is None:
            self.backend.fail(call.req_id, errno.EPERM, why=constants.L2CAPIF_WHY_NO_AGENT, needed=call.security)
        else:
            self.pairing = call
            self.ask(PAIRING, constants.L2CAPIF_PROMPT_CONFIRM, call.address, call.address_type, 42193)

    def ask(self, number: int, kind: int, address: bytes, address_type: int, value: int = 0) -> None:
        if self.agent is not None:
            self.agent.outbox.append(messages.pack_prompt(messages.PromptMessage(
                number, kind, address, address_type, value, 30_000
            )))  # fmt: skip
            self.agent.work()

    def take_answers(self, answers: list[messages.AnswerMessage]) -> None:
        """The second question of who comes is to be typed."""
        for answer in answers:
            if answer.number == PAIRING and (call := self.pairing) is not None:
                self.pairing = None
                if answer.accept:
                    self.backend.complete_pairing(call.req_id, call.security, 16, bonded=True)
                else:
                    why = constants.L2CAPIF_WHY_REFUSED_HERE
                    self.backend.fail(call.req_id, errno.EPERM, why=why, needed=call.security)
                self.respond()
            elif answer.number == COMES and answer.accept:
                self.ask(COMES + 1, constants.L2CAPIF_PROMPT_ENTER_PASSKEY, CALLER[1], 2)
            elif answer.number == COMES + 1 and answer.value == PASSKEY:
                self.ask(COMES + 2, constants.L2CAPIF_PROMPT_DISPLAY, CALLER[1], 2, 7)

    def answer_echo(self, call: calls.EchoCall) -> None:
        if call.address == NO_ANSWER:
            return
        if call.address in NO_ECHOES:
            error, status = NO_ECHOES[call.address]
            self.backend.fail(call.req_id, error, status=status)
        else:
            self.backend.complete_echo(call.req_id, b"other" * 10 if call.address == OTHER_DATA else call.data)


REPORTS_OF_A_SCAN = [
    messages.ScanReport(ADVERTISER, 2, -50, 0, b"\x02\x01\x06\x05\x09echo"),
    messages.ScanReport(ADVERTISER, 2, 127, 4, b""),
    messages.ScanReport(PEER[::-1], 1, -90, 3, b"\x05\x08ab"),
    messages.ScanReport(b"\x14" + ADVERTISER[1:], 2, -50, 0, b"\x07\x09sensor"),
]


HEADSET = bytes.fromhex("130000eeffc0")
INQUIRY, NAME = constants.L2CAPIF_REPORT_INQUIRY, constants.L2CAPIF_REPORT_NAME
FOUND_BY_INQUIRY = [
    messages.ExtendedReport(b"\x11" + HEADSET[1:], 0, INQUIRY, 0, -50, 0, b"\x05\x09echo"),
    messages.ExtendedReport(HEADSET, 0, INQUIRY, 0, -61, 0x240404, b"\x03\x03\x1e\x11"),
    messages.ExtendedReport(HEADSET, 0, NAME, 0, 127, 0, b"Ears\x1b[2J"),
]


def reports_of(call: calls.ScanCall) -> list[bytes]:
    if call.transport == 0:
        return [messages.pack_extended_report(report) for report in FOUND_BY_INQUIRY]
    if not call.extended:
        return [messages.pack_report(report) for report in REPORTS_OF_A_SCAN]
    return [
        messages.pack_extended_report(messages.ExtendedReport(address, kind, 0, event, rssi, 0, data))
        for address, kind, rssi, event, data in REPORTS_OF_A_SCAN
    ]


async def serve(guest: int, powered: bool = True, tells: bool = False, modern: bool = True) -> None:
    """The backend of the guest's device 0, until it is killed. Where not ``powered``, an ADVERTISE brings a controller;
    ``tells``: INFO can wait for that. ``modern``: it can do what came later, and says so.
    """
    async with Xen.open() as xen:
        device = XenbusDevice(xen.store, "backend", VL2CAP.backend_path(guest, 0))
        await device.run(Driver(xen, device, powered=powered, tells=tells, modern=modern).perform)
