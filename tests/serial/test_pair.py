"""The C client and the bridge over a bad line: SDUs arrive once, whole and in order, or the session ends."""

from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.serial.c_client import EAGAIN, ENDED, ENODEV, FREE, OPEN, Library
from tests.serial.pair import ADDRESS, INFO, REFUSED_PSM, Pair, damage
from usbbtd.serial.events import SduReceived


def exchange(pair: Pair, number: int, sdus: list[bytes], limit_s: float = 120.0) -> list[bytes]:
    """Sends SDUs while those that come back are read, and returns these."""
    waiting, back = list(sdus), list[bytes]()

    def work() -> bool:
        while waiting and pair.client.send(number, waiting[0]) == 0:
            waiting.pop(0)
        while isinstance(sdu := pair.client.recv(number), bytes):
            back.append(sdu)
        assert sdu == EAGAIN
        return len(back) == len(sdus)

    pair.wait(work, limit_s)
    return back


@settings(deadline=None, max_examples=40)
@given(
    seed=st.integers(0, 2**32),
    rate=st.sampled_from([0.0, 0.0005, 0.002]),
    sizes=st.lists(st.integers(0, 2048) | st.sampled_from([0, 1, 239, 240, 241, 480, 481, 2048]), max_size=12),
)
def test_sdus_arrive_once_whole_and_in_order(library: Library, seed: int, rate: float, sizes: list[int]) -> None:
    random = Random(seed)
    pair = Pair(library, damage(random, rate))
    pair.connect(1)
    pair.connect(2)
    sdus = [random.randbytes(size) for size in sizes]
    for number in (1, 2):
        assert exchange(pair, number, sdus) == sdus
    assert pair.user.ended == []
    assert pair.client.v.sessions == 1


@settings(deadline=None, max_examples=15)
@given(seed=st.integers(0, 2**32))
def test_a_line_that_damages_most_frames_never_changes_an_sdu(library: Library, seed: int) -> None:
    """Whatever comes back, until the session is lost, is what was sent first; and a better line serves again."""
    random = Random(seed)
    pair = Pair(library)
    pair.connect(1)
    pair.to_bridge, pair.to_client = damage(random, 0.02), damage(random, 0.02)
    sdus = [random.randbytes(500) for _ in range(5)]
    sent, back = 0, list[bytes]()
    end = pair.now + 100
    while pair.now < end and pair.client.object(1).state == OPEN and len(back) < len(sdus):
        if sent < len(sdus) and pair.client.send(1, sdus[sent]) == 0:
            sent += 1
        while isinstance(sdu := pair.client.recv(1), bytes):
            back.append(sdu)
        if not pair.turn():
            pair.pass_time()
    assert back == sdus[: len(back)]
    pair.to_bridge = pair.to_client = bytes
    pair.connect(2)
    assert exchange(pair, 2, sdus) == sdus


def test_what_stuffing_is_for(library: Library) -> None:
    """SDUs of nothing but octets that mean something on the line."""
    pair = Pair(library)
    pair.connect(1)
    sdus = [bytes((octet,)) * 2048 for octet in (0x7E, 0x7D, 0x11, 0x13, 0x5E, 0x00, 0xFF)]
    assert exchange(pair, 1, sdus) == sdus
    assert pair.bridge.statistics()["repeated"] == 0


def test_a_line_with_xon_and_xoff_and_another_s_words(library: Library) -> None:
    pair = Pair(library, lambda octets: b"login: \x7d\x7e" + octets.replace(b"\x00", b"\x13\x00\x11"))
    pair.connect(1)
    assert exchange(pair, 1, [b"one", b"two" * 500]) == [b"one", b"two" * 500]


def test_an_echoing_terminal(library: Library) -> None:
    """What the bridge sends comes back to it, too: it is passed over."""
    pair = Pair(library)
    last = b""

    def to_client(octets: bytes) -> bytes:
        nonlocal last
        last = octets
        return octets

    pair.to_client = to_client
    pair.to_bridge = lambda octets: last + octets
    pair.connect(1)
    assert exchange(pair, 1, [b"x" * 700]) == [b"x" * 700]


def test_information(library: Library) -> None:
    pair = Pair(library)
    pair.client.lib.vls_ask_info(pair.client.v)
    pair.wait(lambda: pair.client.v.info_ret != EAGAIN)
    info = pair.client.v.info
    assert pair.client.v.info_ret == 0
    assert (bytes(info.addr), info.powered, info.features, info.max_mtu) == (ADDRESS, 1, INFO.features, INFO.max_mtu)


def test_a_refusal_says_why(library: Library) -> None:
    pair = Pair(library)
    pair.connect(3, REFUSED_PSM)
    made = pair.client.object(3)
    assert (made.state, made.ret, made.peer.result) == (FREE, -111, 2)
    pair.connect(3)
    assert pair.client.object(3).state == OPEN


def test_an_echo_of_every_size(library: Library) -> None:
    pair = Pair(library)
    for size in range(37):
        data = bytes(range(size))
        assert pair.client.lib.vls_echo(pair.client.v, 1, ADDRESS, data, size, 0) == 0
        pair.wait(lambda: pair.client.object(1).state == FREE)
        made = pair.client.object(1)
        assert (made.ret, bytes(getattr(made, "in")[0])[: made.in_length[0]]) == (0, data)


def test_a_release_comes_after_what_was_sent(library: Library) -> None:
    pair = Pair(library)
    pair.connect(1)
    came: list[int] = []
    work = pair.user.work

    def look() -> None:
        came.extend(len(event.sdu) for event in pair.bridge._events if isinstance(event, SduReceived))
        work()

    pair.user.work = look  # type: ignore[method-assign]
    assert pair.client.send(1, b"y" * 2048) == 0
    assert pair.client.lib.vls_release(pair.client.v, 1) == 0
    pair.wait(lambda: pair.client.object(1).state == FREE)
    assert came == [2048]
    assert not pair.bridge.objects


@pytest.mark.parametrize("cookie", [7, 8], ids=["without a clock", "with a clock"])
def test_a_client_that_is_started_anew(library: Library, cookie: int) -> None:
    """Whatever the old one has left on the line: its objects are gone, and the new one begins at once."""
    pair = Pair(library)
    pair.connect(1)
    assert pair.client.send(1, b"z" * 2048) == 0
    left = pair.client.output(pair.now)
    pair.start_client(cookie)
    pair.bridge.receive(left, pair.now)
    pair.user.work()
    pair.client.input(pair.bridge.take_output(pair.now), pair.now)
    pair.connect(2)
    assert exchange(pair, 2, [b"new"]) == [b"new"]
    assert pair.user.ended == ["the client has begun another one"]
    assert list(pair.bridge.objects) == [2]


def test_a_bridge_that_is_started_anew(library: Library) -> None:
    pair = Pair(library)
    pair.connect(1)
    pair.start_bridge(before=0x2000)
    pair.wait(lambda: pair.client.object(1).state == ENDED)
    assert pair.client.recv(1) == ENODEV
    assert pair.client.send(1, b"") == ENODEV
    assert pair.client.lib.vls_release(pair.client.v, 1) == 0
    pair.connect(1)
    assert exchange(pair, 1, [b"again"]) == [b"again"]


def test_a_line_that_is_cut_ends_the_session_at_both_ends(library: Library) -> None:
    pair = Pair(library)
    pair.connect(1)
    pair.to_bridge = pair.to_client = lambda octets: b""
    assert pair.client.send(1, b"lost") == 0
    pair.wait(lambda: pair.client.object(1).state == ENDED and bool(pair.user.ended))
    assert pair.client.recv(1) == ENODEV
    assert pair.user.ended == ["the client has acknowledged nothing for 30 s"]
    pair.to_bridge = pair.to_client = bytes
    assert pair.client.lib.vls_release(pair.client.v, 1) == 0
    pair.connect(1)
    assert exchange(pair, 1, [b"mended"]) == [b"mended"]


def test_a_client_that_has_gone_is_noticed_without_traffic(library: Library) -> None:
    pair = Pair(library)
    pair.connect(1)
    pair.start_client()
    pair.to_client = lambda octets: b""
    began = pair.now
    while not pair.user.ended:
        pair.pass_time()
        pair.bridge.take_output(pair.now)
    assert 30 < pair.now - began < 50


def test_a_client_says_that_it_ends(library: Library) -> None:
    pair = Pair(library)
    pair.connect(1)
    pair.client.lib.vls_close(pair.client.v)
    pair.wait(lambda: bool(pair.user.ended))
    assert pair.user.ended == ["the client has ended it"]
    assert not pair.bridge.objects
    assert pair.client.output(pair.now + 60) == b""
