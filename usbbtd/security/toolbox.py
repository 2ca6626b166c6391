"""The cryptographic toolbox of Vol 3, Part H, 2.2, and P-256 with what a device must check of a peer's key.

Every value of several octets is in the order of HCI and of the air, least significant octet first, as keys and
addresses are everywhere in usbbtd; the specification prints them the other way round. AES and P-256 are of the library
``cryptography``. It is imported when it is used for the first time: most of the service's life needs none of it.
"""

import hmac
from collections.abc import Callable
from typing import Final, NamedTuple

from usbbtd.errors import RemoteProtocolError
from usbbtd.security.terms import OwnOob

# P-256 (FIPS 186-4, D.1.2.3)
_P: Final = 2**256 - 2**224 + 2**192 + 2**96 - 1
_B: Final = 0x5AC635D8AA3A93E7B3EBBD55769886BC651D06B0CC53B0F63BCE3C3E27D2604B
_ORDER: Final = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551

#: The X coordinate of the debug key, whose private key everybody knows (Vol 3, Part H, 2.3.5.6.1).
DEBUG_KEY_X: Final = bytes.fromhex("20b003d2f297be2c5e2c83a7e9f9a5b9eff49111acf4fddbcc0301480e359de6")[::-1]

_F5_SALT: Final = bytes.fromhex("6c888391aaf5a53860370bdb5a6083be")
_F5_KEY_ID: Final = b"btle"
_F5_LENGTH: Final = (256).to_bytes(2, "big")
#: A resolvable private address has these top bits (Vol 6, Part B, 1.3.2.2).
_RESOLVABLE: Final = 0b01


class PublicKey(NamedTuple):
    """Has the coordinates of a point of P-256, 32 octets each."""

    x: bytes
    y: bytes


def same(one: bytes, other: bytes) -> bool:
    """Compares secrets in a time that does not tell where they differ."""
    return hmac.compare_digest(one, other)


def e(key: bytes, plain: bytes) -> bytes:
    """Encrypts one block of 16 octets with AES-128 (2.2.1)."""
    from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

    encryptor = Cipher(algorithms.AES(key[::-1]), modes.ECB()).encryptor()  # noqa: S305 - one block, as specified
    return (encryptor.update(plain[::-1]) + encryptor.finalize())[::-1]


def aes_cmac(key: bytes, message: bytes) -> bytes:
    """Returns the AES-CMAC (RFC 4493; 2.2.5); here all three have their most significant octet first."""
    from cryptography.hazmat.primitives.ciphers.algorithms import AES
    from cryptography.hazmat.primitives.cmac import CMAC

    mac = CMAC(AES(key))
    mac.update(message)
    return mac.finalize()


def _cmac(key: bytes, *parts: bytes) -> bytes:
    return aes_cmac(key[::-1], b"".join(part[::-1] for part in parts))[::-1]


def ah(irk: bytes, prand: bytes) -> bytes:
    """Returns the 3 octets of a resolvable private address that follow from the other 3 (2.2.2)."""
    return e(irk, prand + bytes(13))[:3]


def resolver(irk: bytes) -> Callable[[bytes], bool]:
    """Returns what tells of addresses whether they are resolvable private ones made with this IRK.

    Whoever likes can have us look at thousands of addresses a second: so the key is expanded once for all of them. See
    Vol 6, Part B, 1.3.2.3.
    """
    from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

    # Blocks are encrypted one by one, so that each call begins anew.
    encrypt = Cipher(algorithms.AES(irk[::-1]), modes.ECB()).encryptor().update  # noqa: S305 - one block, as specified

    def resolves(address: bytes) -> bool:
        return address[5] >> 6 == _RESOLVABLE and same(encrypt(bytes(13) + address[:2:-1])[:-4:-1], address[:3])

    return resolves


def resolves(irk: bytes, address: bytes) -> bool:
    """Tells whether an address is a resolvable private one made with this IRK (Vol 6, Part B, 1.3.2.3)."""
    return resolver(irk)(address)


def c1(
    key: bytes,
    random: bytes,
    request: bytes,
    response: bytes,
    initiator: tuple[int, bytes],
    responder: tuple[int, bytes],
) -> bytes:
    """Returns the confirm value of legacy pairing (2.2.3).

    ``request`` and ``response``: the 7 octets of the PDUs; the addresses with their types on the air, 0 or 1.
    """
    p1 = bytes((initiator[0], responder[0])) + request + response
    p2 = responder[1] + initiator[1] + bytes(4)
    return e(key, _xor(e(key, _xor(random, p1)), p2))


def s1(key: bytes, responder_random: bytes, initiator_random: bytes) -> bytes:
    """Returns the short term key of legacy pairing (2.2.4)."""
    return e(key, initiator_random[:8] + responder_random[:8])


def f4(u: bytes, v: bytes, x: bytes, z: int) -> bytes:
    """Returns the confirm value of Secure Connections for two X coordinates, a nonce and an octet (2.2.6)."""
    return _cmac(x, u, v, bytes((z,)))


def f5(secret: bytes, n1: bytes, n2: bytes, a1: bytes, a2: bytes) -> tuple[bytes, bytes]:
    """Returns the MacKey and the LTK of Secure Connections (2.2.7). ``a1``, ``a2``: addresses, the type as octet 7."""
    key = aes_cmac(_F5_SALT, secret[::-1])
    tail = b"".join(part[::-1] for part in (n1, n2, a1, a2)) + _F5_LENGTH
    mac_key, ltk = (aes_cmac(key, bytes((counter,)) + _F5_KEY_ID + tail)[::-1] for counter in (0, 1))
    return mac_key, ltk


def f6(mac_key: bytes, n1: bytes, n2: bytes, r: bytes, capability: bytes, a1: bytes, a2: bytes) -> bytes:
    """Returns the check value of Secure Connections (2.2.8). ``capability``: 3 octets, as in a pairing PDU."""
    return _cmac(mac_key, n1, n2, r, capability, a1, a2)


def g2(u: bytes, v: bytes, x: bytes, y: bytes) -> int:
    """Returns the number of six digits that both devices show for numeric comparison (2.2.9)."""
    return int.from_bytes(_cmac(x, u, v, y)[:4], "little") % 1_000_000


def h6(key: bytes, key_id: bytes) -> bytes:
    """Converts a key (2.2.10). ``key_id``: 4 letters as the specification writes them, such as ``b"lebr"``."""
    return aes_cmac(key[::-1], key_id)[::-1]


def h7(salt: bytes, key: bytes) -> bytes:
    """Converts a key (2.2.11). ``salt``: 16 octets, the most significant first, as the specification writes them."""
    return aes_cmac(salt, key[::-1])[::-1]


def shorten(key: bytes, size: int) -> bytes:
    """Clears the most significant octets of a key of 16, so that ``size`` are left (2.3.4)."""
    return key[:size] + bytes(16 - size)


def make_private_key(random: Callable[[int], bytes]) -> int:
    """Returns a private key of P-256. So that none is likelier, 64 bits more are drawn (FIPS 186-4, B.4.1)."""
    return int.from_bytes(random(40), "little") % (_ORDER - 1) + 1


def public_key(private_key: int) -> PublicKey:
    """Returns the public key of a private one."""
    from cryptography.hazmat.primitives.asymmetric import ec

    numbers = ec.derive_private_key(private_key, ec.SECP256R1()).public_key().public_numbers()
    return PublicKey(numbers.x.to_bytes(32, "little"), numbers.y.to_bytes(32, "little"))


def check_public_key(untrusted: PublicKey, ours: PublicKey) -> PublicKey:
    """Returns a peer's public key if it may be used. Raises RemoteProtocolError if not (2.3.5.6.1).

    It has to be a point of the curve, or its use would tell of our private key. It must not have our own X coordinate:
    a peer that sends our key back, with either Y, passes checks without a secret. The debug key protects nothing.
    """
    x, y = int.from_bytes(untrusted.x, "little"), int.from_bytes(untrusted.y, "little")
    if x >= _P or y >= _P or (y * y - (x * x * x - 3 * x + _B)) % _P:
        raise RemoteProtocolError("its public key is no point of P-256")
    if untrusted.x == ours.x:
        raise RemoteProtocolError("its public key is ours")
    if untrusted.x == DEBUG_KEY_X:
        raise RemoteProtocolError("its public key is the debug key")
    return untrusted


def diffie_hellman(private_key: int, peer: PublicKey) -> bytes:
    """Returns the 32 octets of the shared secret. ``peer``: what ``check_public_key`` returned."""
    from cryptography.hazmat.primitives.asymmetric import ec

    curve = ec.SECP256R1()
    numbers = ec.EllipticCurvePublicNumbers(int.from_bytes(peer.x, "little"), int.from_bytes(peer.y, "little"), curve)
    return ec.derive_private_key(private_key, curve).exchange(ec.ECDH(), numbers.public_key())[::-1]


def make_oob(random: Callable[[int], bytes]) -> OwnOob:
    """Makes a key and what the peer gets of it out of band (2.3.5.6.4)."""
    private_key, r = make_private_key(random), random(16)
    x = public_key(private_key).x
    return OwnOob(private_key, r, f4(x, x, r, 0))


def _xor(one: bytes, other: bytes) -> bytes:
    return bytes(a ^ b for a, b in zip(one, other, strict=True))
