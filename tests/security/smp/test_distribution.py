"""The keys that both sides keep."""

import pytest

from tests.security.smp.pair import CENTRAL_ADDRESS, PERIPHERAL_ADDRESS, SmpPair, randomness
from usbbtd.bluetooth import (
    ADDRESS_LE_PUBLIC,
    ADDRESS_LE_RANDOM,
    CENTRAL,
    LEVEL_ENCRYPTED,
    PERIPHERAL,
)
from usbbtd.security import toolbox
from usbbtd.security.smp import wire
from usbbtd.security.smp.events import SmpEncrypt, SmpFailed, SmpPaired, SmpResult
from usbbtd.security.smp.machine import Smp
from usbbtd.security.smp.wire import PairingReason
from usbbtd.security.terms import PairingTerms

PLAIN = PairingTerms(LEVEL_ENCRYPTED, 3)
LEGACY = PLAIN._replace(secure_connections=False)
IDENTITIES = (
    (b"central irk".ljust(16), bytes.fromhex("0100005566c7"), ADDRESS_LE_RANDOM),
    (b"peripheral irk".ljust(16), bytes.fromhex("0200005566aa"), ADDRESS_LE_PUBLIC),
)
KEY_PDUS = (0x06, 0x07, 0x08, 0x09, 0x0A)


def keys_of(pair: SmpPair) -> list[tuple[int, int]]:
    return [(side, pdu[0]) for side, pdu in pair.log if pdu[0] in KEY_PDUS]


@pytest.mark.parametrize("terms", [PLAIN, LEGACY])
def test_the_responders_come_first(terms: PairingTerms) -> None:
    pair = SmpPair(terms, PLAIN, identities=IDENTITIES).run()
    kinds = (0x08, 0x09) if terms is PLAIN else (0x06, 0x07, 0x08, 0x09)
    assert keys_of(pair) == [(side, kind) for side in (PERIPHERAL, CENTRAL) for kind in kinds]
    for side, end in enumerate(pair.results()):
        irk, address, kind = IDENTITIES[not side]
        assert (end.result.irk, end.result.identity_address, end.result.identity_type) == (irk, address, kind)


@pytest.mark.parametrize("bondable", [(True, False), (False, True), (False, False)])
def test_nothing_is_kept_unless_both_want_to(bondable: tuple[bool, bool]) -> None:
    for terms in (PLAIN, LEGACY):
        pair = SmpPair(*(terms._replace(bondable=each) for each in bondable), identities=IDENTITIES).run()
        assert keys_of(pair) == []
        for end in pair.results():
            assert not end.result.bonded
            assert end.result[4:] == (None,) * 6
        assert pair.key is not None


def test_without_an_irk_no_identity_is_given() -> None:
    pair = SmpPair(PLAIN, PLAIN, identities=(None, IDENTITIES[1])).run()
    one, other = (end.result for end in pair.results())
    assert one.identity_address == IDENTITIES[1][1]
    assert other.identity_address is other.irk is None


def secure_central(peer: tuple[bytes, int] = PERIPHERAL_ADDRESS, keys: int = 0x02) -> Smp:
    """Returns a central whose controller has the key, and whose peer is to send ``keys``."""
    smp = Smp(CENTRAL, CENTRAL_ADDRESS, peer, randomness(3))
    smp.start(PLAIN, 0.0)
    request = smp.take_pdus()[0]
    response = wire.PairingResponse(3, 0, 0x09, 16, 0, keys)
    smp.receive(response.pack(), 0.0)
    own = wire.parse_pdu(smp.take_pdus()[0])
    assert isinstance(own, wire.PairingPublicKey)
    key, nonce = toolbox.public_key(77), bytes(range(16))
    smp.receive(wire.PairingPublicKey(*key).pack(), 0.0)
    smp.receive(wire.PairingConfirm(toolbox.f4(key.x, own.x, nonce, 0)).pack(), 0.0)
    other = smp.take_pdus()[0][1:]
    smp.receive(wire.PairingRandom(nonce).pack(), 0.0)
    a, b = (bytes((*address, kind - 1)) for address, kind in (CENTRAL_ADDRESS, peer))
    secret = toolbox.diffie_hellman(77, toolbox.PublicKey(own.x, own.y))
    mac_key, ltk = toolbox.f5(secret, other, nonce, a, b)
    capability = response.pack()[1:4]
    smp.receive(wire.PairingDhKeyCheck(toolbox.f6(mac_key, nonce, other, bytes(16), capability, b, a)).pack(), 0.0)
    assert smp.take_pdus()[0][1:] == toolbox.f6(mac_key, other, nonce, bytes(16), request[1:4], a, b)
    assert smp.take_events() == [SmpEncrypt(ltk)]
    return smp


def identity(smp: Smp, irk: bytes, kind: int, address: bytes) -> SmpResult:
    smp.encrypted(0.0)
    smp.receive(wire.IdentityInformation(irk).pack(), 0.0)
    smp.receive(wire.IdentityAddressInformation(kind, address).pack(), 0.0)
    (event,) = smp.take_events()
    assert isinstance(event, SmpPaired)
    return event.result


def test_an_irk_of_zeros_is_none() -> None:
    result = identity(secure_central(), bytes(16), 0, b"public")
    assert (result.irk, result.identity_address, result.identity_type) == (None, b"public", ADDRESS_LE_PUBLIC)


@pytest.mark.parametrize(
    ("kind", "address"),
    [(1, bytes.fromhex("01020304057f")), (1, bytes.fromhex("01020304053f")), (2, b"\xff" * 6), (0, bytes(6))],
)
def test_an_identity_that_is_none_is_dropped(kind: int, address: bytes) -> None:
    smp = secure_central()
    result = identity(smp, b"i" * 16, kind, address)
    assert (result.irk, result.identity_address, result.identity_type) == (None, None, None)
    assert result.bonded
    assert smp.statistics()["identities dropped"] == 1


@pytest.mark.parametrize("right", [True, False])
def test_the_irk_has_made_the_private_address(right: bool) -> None:
    irk, prand = b"i" * 16, bytes.fromhex("010255")
    address = toolbox.ah(irk, prand) + prand
    smp = secure_central(peer=(address, ADDRESS_LE_RANDOM))
    result = identity(smp, irk if right else b"j" * 16, 0, b"public")
    assert result.irk == (irk if right else None)
    assert result.identity_address == (b"public" if right else None)


def test_keys_may_overtake_the_controllers_word() -> None:
    smp = secure_central()
    smp.receive(wire.IdentityInformation(b"i" * 16).pack(), 0.0)
    smp.receive(wire.IdentityAddressInformation(0, b"public").pack(), 0.0)
    assert smp.take_events() == []
    smp.encrypted(0.0)
    (event,) = smp.take_events()
    assert isinstance(event, SmpPaired)
    assert event.result.identity_address == b"public"


def test_no_more_keys_than_there_are_may_overtake() -> None:
    smp = secure_central()
    for _ in range(6):
        smp.receive(wire.SigningInformation(bytes(16)).pack(), 0.0)
    (event,) = smp.take_events()
    assert isinstance(event, SmpFailed)


def test_signing_keys_are_dropped() -> None:
    smp = secure_central()
    smp.encrypted(0.0)
    smp.receive(wire.SigningInformation(bytes(16)).pack(), 0.0)
    result = identity(smp, b"i" * 16, 0, b"public")
    assert result.irk is not None
    assert smp.statistics()["signing keys dropped"] == 1


@pytest.mark.parametrize("pdu", [wire.IdentityAddressInformation(0, b"public"), wire.EncryptionInformation(bytes(16))])
def test_keys_have_an_order(pdu: wire.SmpPdu) -> None:
    smp = secure_central()
    smp.encrypted(0.0)
    smp.receive(pdu.pack(), 0.0)
    (event,) = smp.take_events()
    assert isinstance(event, SmpFailed)
    assert event.reason == PairingReason.UNSPECIFIED_REASON


def test_nothing_shows_a_key() -> None:
    pair = SmpPair(LEGACY, PLAIN, identities=IDENTITIES).run()
    result = pair.results()[0].result
    assert result.peer_key is not None
    secrets = (result.peer_key.ltk, result.irk, pair.key)
    for shown in (repr(pair.events), str(pair.events), repr(pair.smps), repr(result)):
        for secret in secrets:
            assert secret is not None
            assert repr(secret)[2:-1] not in shown
            assert secret.hex() not in shown
