"""Our machine against Bumble's Session: an implementation of the same chapters by others.

Bumble's device and connection are stood in for; what is between both sides is a list of PDUs.
"""

import asyncio
from collections.abc import Awaitable, Callable
from types import SimpleNamespace
from typing import Any

import pytest
from bumble.core import PhysicalTransport
from bumble.hci import Address, Role
from bumble.pairing import PairingConfig, PairingDelegate
from bumble.smp import Manager, OobContext, OobLegacyContext, OobSharedData
from bumble.utils import EventEmitter

from tests.security.smp.pair import randomness
from usbbtd.bluetooth import (
    ADDRESS_LE_PUBLIC,
    ADDRESS_LE_RANDOM,
    CENTRAL,
    LEVEL_AUTHENTICATED,
    LEVEL_ENCRYPTED,
    LEVEL_SECURE,
    PERIPHERAL,
)
from usbbtd.security import toolbox
from usbbtd.security.smp.events import SmpAsked, SmpEncrypt, SmpFailed, SmpPaired, SmpPrompt, SmpResult
from usbbtd.security.smp.machine import Smp
from usbbtd.security.terms import CONFIRM, CONSENT, DISPLAY, ENTER_PASSKEY, OobData, PairingTerms

OURS = (bytes.fromhex("0100005566c7"), ADDRESS_LE_RANDOM)
THEIRS = (bytes.fromhex("0200005566f1"), ADDRESS_LE_RANDOM)
OUR_IDENTITY = (b"our irk".ljust(16), bytes.fromhex("0100005566aa"), ADDRESS_LE_PUBLIC)
THEIR_IRK = b"their irk".ljust(16)
TYPED = 123456


class Delegate(PairingDelegate):  # type: ignore[misc]
    """Bumble's person, who types what our side shows."""

    def __init__(self, io_capability: int) -> None:
        super().__init__(PairingDelegate.IoCapability(io_capability))
        self.shown: int | None = None
        self.compared: int | None = None
        self.passkey: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    async def compare_numbers(self, number: int, digits: int) -> bool:
        self.compared = number
        return True

    async def get_number(self) -> int:
        return await self.passkey

    async def display_number(self, number: int, digits: int) -> None:
        self.shown = number


class Connection(EventEmitter):  # type: ignore[misc]
    """What a Session asks of a connection."""

    EVENT_DISCONNECTION = "disconnection"
    EVENT_CONNECTION_ENCRYPTION_CHANGE = "connection_encryption_change"
    EVENT_CONNECTION_ENCRYPTION_KEY_REFRESH = "connection_encryption_key_refresh"
    EVENT_SECURITY_REQUEST = "security_request"

    def __init__(self, role: int, send: Callable[[bytes], None]) -> None:
        super().__init__()
        self.handle = 1
        self.transport = PhysicalTransport.LE
        self.role = Role(role)
        self.self_address = Address(THEIRS[0], Address.RANDOM_DEVICE_ADDRESS)
        self.peer_address = Address(OURS[0], Address.RANDOM_DEVICE_ADDRESS)
        self.self_resolvable_address = self.peer_resolvable_address = None
        self.is_encrypted = False
        self._send = send

    def send_l2cap_pdu(self, _cid: int, pdu: bytes) -> None:
        self._send(pdu)

    def cancel_on_disconnection(self, awaitable: Awaitable[None]) -> asyncio.Future[None]:
        return asyncio.ensure_future(awaitable)

    async def drain(self) -> None:
        pass


class Match:
    """A pairing of ours, in a role, with Bumble's."""

    def __init__(self, role: int, terms: PairingTerms, io_capability: int, **config: Any) -> None:
        self.role, self.terms = role, terms
        self.smp = Smp(role, OURS, THEIRS, randomness(11), identity=OUR_IDENTITY)
        self.delegate = Delegate(io_capability)
        self.to_us: list[bytes] = []
        self.connection = Connection(not role, self.to_us.append)
        self.keys: Any = None
        self.failure: Any = None
        device = SimpleNamespace(
            irk=THEIR_IRK,
            public_address=Address.ANY,
            static_address=Address(THEIRS[0], Address.RANDOM_DEVICE_ADDRESS),
            keystore=None,
            host=SimpleNamespace(send_async_command=self._encrypt_for_bumble),
            on_pairing_start=lambda _connection: None,
            on_pairing=self._paired,
            on_pairing_failure=self._failed,
        )
        self.manager = Manager(device, lambda _connection: PairingConfig(delegate=self.delegate, **config))
        self.result: SmpResult | None = None
        self.end: SmpFailed | None = None
        self.shown: int | None = None

    async def run(self) -> "Match":
        """Pairs, until both sides have ended."""
        if self.role == CENTRAL:
            self.smp.start(self.terms, 0.0)
        else:
            self.pairing = asyncio.ensure_future(self.manager.pair(self.connection))
        while (self.result is None and self.end is None) or (self.keys is None and self.failure is None):
            self._pump()
            await asyncio.sleep(0)
        if self.role == PERIPHERAL:
            await asyncio.wait([self.pairing])
            self.pairing.exception()
        return self

    def _pump(self) -> None:
        for pdu in self.smp.take_pdus():
            self.manager.on_smp_pdu(self.connection, pdu)
        for event in self.smp.take_events():
            self._handle(event)
        while self.to_us:
            self.smp.receive(self.to_us.pop(0), 0.0)
        if self.delegate.shown is not None:
            self.smp.answer(True, self.delegate.shown, 0.0)

    def _handle(self, event: object) -> None:
        if isinstance(event, SmpAsked):
            self.smp.accept(self.terms, 0.0)
        elif isinstance(event, SmpPrompt):
            self._answer(event.kind, event.value)
        elif isinstance(event, SmpEncrypt):
            session = self.manager.sessions[1]
            assert session.get_long_term_key(bytes(8), 0) == event.key
            self._encrypted()
        elif isinstance(event, SmpPaired):
            self.result = event.result
        elif isinstance(event, SmpFailed):
            self.end = event

    def _answer(self, kind: int, value: int | None) -> None:
        if kind in (CONSENT, CONFIRM):
            self.shown = value
            self.smp.answer(True, None, 0.0)
        elif kind == DISPLAY:
            assert value is not None
            self.delegate.passkey.set_result(value)
        elif kind == ENTER_PASSKEY and self.delegate.io_capability == 2:  # both type
            self.delegate.passkey.set_result(TYPED)
            self.smp.answer(True, TYPED, 0.0)

    async def _encrypt_for_bumble(self, command: Any) -> None:
        assert self.smp.long_term_key(0, 0) == command.long_term_key
        self._encrypted()

    def _encrypted(self) -> None:
        self.connection.is_encrypted = True
        # The peripheral first: what a central has to send it answers with
        if self.role == PERIPHERAL:
            self.smp.encrypted(0.0)
        self.connection.emit(self.connection.EVENT_CONNECTION_ENCRYPTION_CHANGE)
        if self.role == CENTRAL:
            self.smp.encrypted(0.0)

    def _paired(self, _connection: object, _address: object, keys: Any, _secure: bool) -> None:
        self.keys = keys

    def _failed(self, _connection: object, reason: Any) -> None:
        self.failure = reason


CELLS = [
    (role, ours, theirs, secure)
    for role in (CENTRAL, PERIPHERAL)
    for ours in range(5)
    for theirs in range(5)
    for secure in (False, True)
]


@pytest.mark.parametrize(("role", "ours", "theirs", "secure"), CELLS)
async def test_every_method(role: int, ours: int, theirs: int, secure: bool) -> None:
    """Each pair of capabilities, as either role: the keys are the same, and worth the same."""
    terms = PairingTerms(LEVEL_ENCRYPTED, ours, secure_connections=secure)
    match = await asyncio.wait_for(Match(role, terms, theirs, mitm=True).run(), 20)
    result, keys = match.result, match.keys
    assert result is not None
    assert keys is not None
    assert result.secure_connections is secure
    assert (result.irk, result.identity_address, result.identity_type) == (THEIR_IRK, THEIRS[0], ADDRESS_LE_RANDOM)
    assert keys.irk.value == OUR_IDENTITY[0]
    assert match.shown == match.delegate.compared
    if secure:
        assert result.ltk == keys.ltk.value
        assert result.authenticated is keys.ltk.authenticated
        return
    # By what Bumble is when it uses the key: a central takes what its peripheral gave
    central, peripheral = keys.ltk_central, keys.ltk_peripheral
    given, got = (peripheral, central) if role == CENTRAL else (central, peripheral)
    assert result.authenticated is got.authenticated
    for our_view, their_view in ((result.our_key, given), (result.peer_key, got)):
        assert our_view is not None
        assert our_view.ltk == their_view.value
        assert our_view.diversifier == their_view.ediv
        assert our_view.random == int.from_bytes(their_view.rand, "little")


@pytest.mark.parametrize("role", [CENTRAL, PERIPHERAL])
async def test_out_of_band(role: int) -> None:
    own = toolbox.make_oob(randomness(12))
    context = OobContext()
    shared = context.share()
    oob = OobData(peer_confirm=shared.c, peer_random=shared.r, own=own)
    config = PairingConfig.OobConfig(context, OobSharedData(own.confirm, own.random), None)
    match = await asyncio.wait_for(Match(role, PairingTerms(LEVEL_SECURE, 3, oob=oob), 3, oob=config).run(), 20)
    assert match.result is not None
    assert match.result.authenticated
    assert match.result.ltk == match.keys.ltk.value


@pytest.mark.parametrize("role", [CENTRAL, PERIPHERAL])
async def test_out_of_band_legacy(role: int) -> None:
    key = bytes(range(16))
    config = PairingConfig.OobConfig(None, None, OobLegacyContext(key))
    terms = PairingTerms(LEVEL_AUTHENTICATED, 3, oob=OobData(temporary_key=key))
    match = await asyncio.wait_for(Match(role, terms, 3, sc=False, oob=config).run(), 20)
    assert match.result is not None
    assert match.result.authenticated


@pytest.mark.parametrize("role", [CENTRAL, PERIPHERAL])
async def test_level_not_reached(role: int) -> None:
    match = await asyncio.wait_for(Match(role, PairingTerms(LEVEL_SECURE, 4), 3).run(), 20)
    assert match.end is not None
    assert not match.end.by_peer
    assert match.failure == match.end.reason == 3
