"""The toolbox against the sample data of the specification, and against Bumble's."""

from typing import Any

import bumble.crypto as bumble
import pytest
from hypothesis import given
from hypothesis import strategies as st

from usbbtd.errors import RemoteProtocolError
from usbbtd.security import toolbox
from usbbtd.security.toolbox import DEBUG_KEY_X, PublicKey

oracle: Any = bumble

P = 2**256 - 2**224 + 2**192 + 2**96 - 1
# Vol 2, Part G, 7.1.2.1: P-256 sample data, set 1. The first pair is the debug key, too.
PRIVATE_A = 0x3F49F6D4A3C55F3874C9B3E3D2103F504AFF607BEB40B7995899B8A6CD3C1ABD
PRIVATE_B = 0x55188B3D32F6BB9A900AFCFBEED4E72A59CB9AC2F19D7CFB6B4FDD49F47FC5FD
PUBLIC_A = (
    "20b003d2f297be2c5e2c83a7e9f9a5b9eff49111acf4fddbcc0301480e359de6",
    "dc809c49652aeb6d63329abf5a52155c766345c28fed3024741c8ed01589d28b",
)
PUBLIC_B = (
    "1ea1f0f01faf1d9609592284f19e4c0047b58afd8615a69f559077b22faaa190",
    "4c55f33e429dad377356703a9ab85160472d1130e28e36765f89aff915b1214a",
)
DH_KEY = "ec0234a357c8ad05341010a60a397d9b99796b13b4f866f1868d34f373bfa698"

# Vol 3, Part H, Appendix D
U = PUBLIC_A[0]
V = "55188b3d32f6bb9a900afcfbeed4e72a59cb9ac2f19d7cfb6b4fdd49f47fc5fd"
N1 = "d5cb8454d177733effffb2ec712baeab"
N2 = "a6e8e7cc25a75f6e216583f7ff3dc4cf"
A1 = "00561237" + "37bfce"
A2 = "00a71370" + "2dcfc1"
MAC_KEY = "2965f176a1084a02fd3f6a20ce636e20"
LTK = "6986791169d7cd23980522b594750a38"
KEY = "ec0234a357c8ad05341010a60a397d9b"

blocks = st.binary(min_size=16, max_size=16)
coordinates = st.binary(min_size=32, max_size=32)
addresses = st.binary(min_size=7, max_size=7)


def msb(text: str) -> bytes:
    """Takes octets as the specification prints them, most significant first."""
    return bytes.fromhex(text)[::-1]


def point(texts: tuple[str, str]) -> PublicKey:
    return PublicKey(*map(msb, texts))


def test_aes_cmac() -> None:
    """RFC 4493, 4, and Vol 3, Part H, D.1."""
    key = bytes.fromhex("2b7e151628aed2a6abf7158809cf4f3c")
    message = bytes.fromhex(
        "6bc1bee22e409f96e93d7e117393172aae2d8a571e03ac9c9eb76fac45af8e5130c81c46a35ce411e5fbc1191a0a52eff69f2445df4f9b17ad2b417be66c3710"
    )
    macs = {
        0: "bb1d6929e95937287fa37d129b756746",
        16: "070a16b46b4d4144f79bdd9dd04a287c",
        40: "dfa66747de9ae63030ca32611497c827",
        64: "51f0bebf7e3b9d92fc49741779363cfe",
    }
    for length, mac in macs.items():
        assert toolbox.aes_cmac(key, message[:length]).hex() == mac


def test_c1() -> None:
    """Vol 3, Part H, 2.2.3."""
    confirm = toolbox.c1(
        bytes(16),
        msb("5783d52156ad6f0e6388274ec6702ee0"),
        msb("07071000000101"),
        msb("05000800000302"),
        (1, msb("a1a2a3a4a5a6")),
        (0, msb("b1b2b3b4b5b6")),
    )
    assert confirm == msb("1e1e3fef878988ead2a74dc5bef13b86")


def test_s1() -> None:
    """Vol 3, Part H, 2.2.4."""
    key = toolbox.s1(bytes(16), msb("000f0e0d0c0b0a091122334455667788"), msb("010203040506070899aabbccddeeff00"))
    assert key == msb("9a1fe1f0e8b0f49b5b4216ae796da062")


def test_f4() -> None:
    """D.2."""
    assert toolbox.f4(msb(U), msb(V), msb(N1), 0) == msb("f2c916f107a9bd1cf1eda1bea974872d")


def test_f5() -> None:
    """D.3."""
    assert toolbox.f5(msb(DH_KEY), msb(N1), msb(N2), msb(A1), msb(A2)) == (msb(MAC_KEY), msb(LTK))


def test_f6() -> None:
    """D.4."""
    r = msb("12a3343bb453bb5408da42d20c2d0fc8")
    check = toolbox.f6(msb(MAC_KEY), msb(N1), msb(N2), r, msb("010102"), msb(A1), msb(A2))
    assert check == msb("e3c473989cd0e8c5d26c0b09da958f61")


def test_g2() -> None:
    """D.5."""
    assert toolbox.g2(msb(U), msb(V), msb(N1), msb(N2)) == 0x2F9ED5BA % 1_000_000


def test_h6() -> None:
    """D.6."""
    assert toolbox.h6(msb(KEY), b"lebr") == msb("2d9ae102e76dc91ce8d3a9e280b16399")


def test_ah() -> None:
    """D.7, and the address that it makes."""
    assert toolbox.ah(msb(KEY), msb("708194")) == msb("0dfbaa")
    address = msb("708194" + "0dfbaa")
    assert toolbox.resolves(msb(KEY), address)
    assert not toolbox.resolves(msb(KEY)[::-1], address)
    assert not toolbox.resolves(msb(KEY), address[:3] + msb("f08194"))  # static, not resolvable


def test_h7() -> None:
    """D.8."""
    assert toolbox.h7(bytes(12) + b"tmp1", msb(KEY)) == msb("fb173597c6a3c0ecd2998c2a75a57011")


def test_p256() -> None:
    """Vol 2, Part G, 7.1.2.1."""
    for private, own, peer in ((PRIVATE_A, PUBLIC_A, PUBLIC_B), (PRIVATE_B, PUBLIC_B, PUBLIC_A)):
        assert toolbox.public_key(private) == point(own)
        assert toolbox.diffie_hellman(private, point(peer)) == msb(DH_KEY)
    assert point(PUBLIC_A).x == DEBUG_KEY_X


def test_public_keys_of_peers() -> None:
    ours = toolbox.public_key(12345)
    assert toolbox.check_public_key(point(PUBLIC_B), ours) == point(PUBLIC_B)
    other_y = ((P - int.from_bytes(ours.y, "little")) % P).to_bytes(32, "little")
    x = point(PUBLIC_B).x
    for wrong, text in (
        (ours, "ours"),
        (PublicKey(ours.x, other_y), "ours"),  # the other point with this X coordinate
        (point(PUBLIC_A), "debug"),
        (PublicKey(bytes(32), bytes(32)), "no point"),
        (PublicKey(x, bytes(32)), "no point"),
        (PublicKey(x, point(PUBLIC_A).y), "no point"),
        (PublicKey(b"\xff" * 32, b"\xff" * 32), "no point"),
    ):
        with pytest.raises(RemoteProtocolError, match=text):
            toolbox.check_public_key(wrong, ours)


def test_a_coordinate_has_one_form() -> None:
    """A point whose X is so small that the same number, and the prime more, has 32 octets, too."""
    b = 0x5AC635D8AA3A93E7B3EBBD55769886BC651D06B0CC53B0F63BCE3C3E27D2604B
    squares = ((x, (x**3 - 3 * x + b) % P) for x in range(1, 100))
    x, y = next((x, root) for x, square in squares if (root := pow(square, (P + 1) // 4, P)) ** 2 % P == square)
    ours = toolbox.public_key(12345)
    small, large = (PublicKey(each.to_bytes(32, "little"), y.to_bytes(32, "little")) for each in (x, x + P))
    assert toolbox.check_public_key(small, ours) == small
    with pytest.raises(RemoteProtocolError):
        toolbox.check_public_key(large, ours)


def test_private_keys_are_of_the_group() -> None:
    order = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
    assert toolbox.make_private_key(bytes) == 1
    assert toolbox.make_private_key(lambda count: (order - 1).to_bytes(count, "little")) == 1
    assert toolbox.make_private_key(lambda count: (order - 2).to_bytes(count, "little")) == order - 1


@given(private=st.integers(1, 2**255), random=blocks)
def test_oob(private: int, random: bytes) -> None:
    """What goes out of band is what Bumble would make of the same key."""
    parts = iter(((private - 1).to_bytes(40, "little"), random))
    own = toolbox.make_oob(lambda _count: next(parts))
    x = oracle.EccKey.from_private_key_bytes(private.to_bytes(32, "big")).x[::-1]
    assert own == (private, random, oracle.f4(x, x, random, bytes(1)))
    assert str(private) not in repr(own)
    assert random.hex() not in repr(own)


@given(key=blocks, one=blocks, other=blocks, pdus=st.binary(min_size=14, max_size=14), sides=addresses, more=addresses)
def test_legacy_agrees_with_bumble(
    key: bytes, one: bytes, other: bytes, pdus: bytes, sides: bytes, more: bytes
) -> None:
    request, response = pdus[:7], pdus[7:]
    initiator, responder = (sides[6] & 1, sides[:6]), (more[6] & 1, more[:6])
    theirs = oracle.c1(key, one, request, response, initiator[0], responder[0], initiator[1], responder[1])
    assert toolbox.c1(key, one, request, response, initiator, responder) == theirs
    assert toolbox.s1(key, one, other) == oracle.s1(key, one, other)
    assert toolbox.e(key, one) == oracle.e(key, one)
    assert toolbox.ah(key, one[:3]) == oracle.ah(key, one[:3])


@given(u=coordinates, v=coordinates, x=blocks, y=blocks, r=blocks, z=st.integers(0, 255), a=addresses, b=addresses)
def test_secure_connections_agree_with_bumble(
    u: bytes, v: bytes, x: bytes, y: bytes, r: bytes, z: int, a: bytes, b: bytes
) -> None:
    assert toolbox.f4(u, v, x, z) == oracle.f4(u, v, x, bytes((z,)))
    assert toolbox.f5(u, x, y, a, b) == oracle.f5(u, x, y, a, b)
    assert toolbox.f6(r, x, y, v[:16], v[16:19], a, b) == oracle.f6(r, x, y, v[:16], v[16:19], a, b)
    assert toolbox.g2(u, v, x, y) == oracle.g2(u, v, x, y) % 1_000_000
    assert toolbox.h6(x, u[:4]) == oracle.h6(x, u[:4])
    assert toolbox.h7(x, y) == oracle.h7(x, y)


@given(one=st.integers(1, 2**255), other=st.integers(1, 2**255))
def test_keys_agree_with_bumble(one: int, other: int) -> None:
    theirs = oracle.EccKey.from_private_key_bytes(other.to_bytes(32, "big"))
    peer = PublicKey(theirs.x[::-1], theirs.y[::-1])
    assert peer == toolbox.public_key(other)
    ours = toolbox.public_key(one)
    assert toolbox.diffie_hellman(one, peer) == theirs.dh(ours.x[::-1], ours.y[::-1])[::-1]


@pytest.mark.parametrize("size", range(7, 17))
def test_shorten(size: int) -> None:
    key = bytes(range(1, 17))
    assert toolbox.shorten(key, size) == key[:size] + bytes(16 - size)
