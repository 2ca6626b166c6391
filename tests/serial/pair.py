"""A C client and a bridge with a line between them that loses, repeats and changes octets, in a time of their own."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from errno import ECONNREFUSED
from random import Random

from tests.serial.c_client import CClient, Library
from usbbtd.serial import events
from usbbtd.serial.bridge import SerialBridge
from usbbtd.serial.objects import SerialObject
from usbbtd.serial.wire import SerialChannelFacts, SerialInfo

ADDRESS = bytes(range(1, 7))
REFUSED_PSM = 0x1099
INFO = SerialInfo(ADDRESS, 0, 1, 0x2F, 16, 0, 16384, bytes(6), 0)
Damage = Callable[[bytes], bytes]


def damage(random: Random, rate: float) -> Damage:
    """Returns what loses, repeats or changes each octet with a probability of ``rate`` in all."""

    def damaged(octets: bytes) -> bytes:
        result, at = bytearray(), 0
        while rate:
            where = at + int(random.expovariate(rate))
            if where >= len(octets):
                break
            result += octets[at:where]
            result += random.choice((b"", octets[where : where + 1] * 2, random.randbytes(1)))
            at = where + 1
        return bytes(result) + octets[at:]

    return damaged


class EchoingUser:
    """The user of a bridge whose peers send every SDU back."""

    def __init__(self, bridge: SerialBridge) -> None:
        self.bridge = bridge
        self.ended: list[str] = []
        self.broken = 0
        self._waiting: dict[SerialObject, deque[bytes]] = {}

    def work(self) -> None:
        for event in self.bridge.take_events():
            self._do(event)

    def _do(self, event: events.BridgeEvent) -> None:
        bridge = self.bridge
        match event:
            case events.InfoAsked():
                bridge.answer_info(INFO)
            case events.ConnectAsked(made, psm=psm) if psm == REFUSED_PSM:
                bridge.fail(made, ECONNREFUSED, SerialChannelFacts(result=2))
            case events.ConnectAsked(made, address, address_type, security, psm, mtu):
                self._waiting[made] = deque()
                bridge.open_channel(made, SerialChannelFacts(address, address_type, security, psm, 2048, mtu))
            case events.ListenAsked(made) | events.ScanAsked(made) | events.AdvertiseAsked(made):
                bridge.succeed(made)
            case events.EchoAsked(made, data=data):
                bridge.answer_echo(made, data)
            case events.SduReceived(made, sdu):
                self._waiting[made].append(sdu)
                self._echo(made)
            case events.CreditReceived(made):
                self._echo(made)
            case events.ReleaseAsked(made):
                bridge.forget(made)
            case events.SessionEnded(_, reason):
                self.ended.append(reason)
                self._waiting.clear()
            case events.ObjectBroken():
                self.broken += 1
            case _:
                pass

    def _echo(self, made: SerialObject) -> None:
        waiting = self._waiting.get(made, deque())
        while waiting and made.room > 0:
            self.bridge.send(made, waiting.popleft())
            self.bridge.give_credit(made)


class Pair:
    """``to_bridge``, ``to_client``: what the line does to octets, which a test may change at any time."""

    def __init__(self, library: Library, damaged: Damage | None = None) -> None:
        self.now = 100.0
        self.library = library
        self.to_bridge = self.to_client = damaged or bytes
        self.start_client()
        self.start_bridge()

    def start_client(self, cookie: int = 7) -> None:
        """As after a crash of the one before."""
        self.client = CClient(self.library, cookie)

    def start_bridge(self, before: int = 0x1000) -> None:
        """As after a crash of the one before."""
        self.bridge = SerialBridge(before)
        self.user = EchoingUser(self.bridge)

    def turn(self) -> bool:
        """Moves what there is on the line, and tells whether there was something."""
        to_bridge = self.client.output(self.now)
        self.bridge.receive(self.to_bridge(to_bridge), self.now)
        self.user.work()
        to_client = self.bridge.take_output(self.now)
        self.client.input(self.to_client(to_client), self.now)
        return bool(to_bridge or to_client)

    def pass_time(self) -> None:
        """Goes on to when one of the ends has something to do."""
        deadline = self.bridge.deadline
        wait_s = self.client.wait_s(self.now)
        self.now += 0.001 + (wait_s if deadline is None else max(min(wait_s, deadline - self.now), 0))
        self.bridge.handle_time(self.now)
        self.user.work()

    def wait(self, condition: Callable[[], bool], limit_s: float = 120.0) -> None:
        """Goes on until the condition holds. Raises TimeoutError after ``limit_s`` of the line's time."""
        end = self.now + limit_s
        while not condition():
            if self.now > end:
                raise TimeoutError(f"it did not happen within {limit_s} s of the line's time")
            if not self.turn():
                self.pass_time()

    def connect(self, number: int, psm: int = 0x1001) -> None:
        assert self.client.lib.vls_connect(self.client.v, number, ADDRESS, 0, psm, 0, 0, 0) == 0
        self.wait(lambda: self.client.object(number).state != 1)
