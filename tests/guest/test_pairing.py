"""What a program asks of links: levels, pairing, and the channel of ATT."""

import errno
from typing import Any

import pytest

from tests.guest.conftest import Pair
from tests.support.domain import Domain
from usbbtd.guest import AdapterError, ConnectTimeout, NotSecure, open_adapter
from usbbtd.guest.security import LEVELS, missing

PEER, PAIRS, NOT_THERE = (f"C0:FF:EE:00:00:0{number}" for number in (1, 2, 4))
ECHO, INSECURE = 0x1001, 0x101D


async def levels() -> list[object]:
    async with open_adapter() as adapter:
        seen: list[object] = []
        for security in LEVELS:
            async with await adapter.connect(PEER, ECHO, security=security) as channel:
                seen.append(channel.security)
        async with await adapter.listen(0x1019) as listener, await listener.accept() as channel:
            seen.append(channel.security)
        async with await adapter.listen(0x1019, security="sc") as listener, await listener.accept() as channel:
            seen.append(channel.security)
        with pytest.raises(NotSecure) as refused:
            await adapter.connect(PEER, INSECURE, security="encrypted")
        return [*seen, str(refused.value), refused.value.level, refused.value.why]


def test_levels(guest: Domain) -> None:
    assert guest.run(levels) == [
        *("none", "encrypted", "authenticated", "secure", "authenticated", "secure"),
        *("encrypted", "secure"),
        f"connect to {PEER}, PSM 0x101d: the link has to be authenticated: {missing(1)[1]}",
        *("authenticated", "no_agent"),
    ]


async def att() -> list[object]:
    async with open_adapter() as adapter, await adapter.open_att(PEER, address_type="random", security="mitm") as att:
        await att.send(b"\x02\x05\x02")
        assert await att.recv() == b"\x02\x05\x02"
        return [repr(att), att.rx_mtu, att.security]


def test_the_channel_of_att(guest: Domain) -> None:
    assert guest.run(att) == [f"<Channel {PEER} (random) CID 0x0004>", 517, "authenticated"]


async def pairings() -> list[object]:
    async with open_adapter() as adapter:
        said: list[object] = [
            await adapter.pair(PAIRS, address_type="random", oob=bytes(range(16)), timeout=None),
        ]
        with pytest.raises(NotSecure) as failed:
            await adapter.pair(PEER)
        with pytest.raises(ConnectTimeout) as late:
            await adapter.pair(NOT_THERE)
        return [*said, str(failed.value), late.value.status]


def test_pairings(guest: Domain) -> None:
    assert guest.run(pairings) == [
        ["encrypted", 16, True],
        f"pair with {PEER}: the link has to be encrypted: {missing(1)[1]}",
        4,
    ]


async def wrong_arguments() -> list[str]:
    async with open_adapter() as adapter:
        calls: list[tuple[Any, ...]] = [
            (adapter.connect, PEER, ECHO, {"security": "high"}),
            (adapter.connect, PEER, ECHO, {"security": 2}),
            (adapter.listen, ECHO, {"security": None}),
            (adapter.open_att, PEER, {"address_type": "bredr"}),
            (adapter.open_att, PEER, {"address_type": "random", "mtu": 22}),
            (adapter.pair, PEER, {"oob": b"short"}),
            (adapter.pair, PEER, {"oob": "text"}),
            (adapter.pair, PEER, {"timeout": 0}),
        ]
        said = []
        for function, *arguments, options in calls:
            with pytest.raises((ValueError, TypeError), match=r".") as wrong:
                await function(*arguments, **options)
            said.append(str(wrong.value))
        return said


def test_wrong_arguments_are_told_before_anything_is_asked(guest: Domain) -> None:
    levels = "none, encrypted, authenticated, secure, mitm, sc"
    assert guest.run(wrong_arguments) == [
        f"security 'high' is none of {levels}",
        f"security 2 is none of {levels}",
        f"security None is none of {levels}",
        "ATT has a channel of its own on LE only: address_type is public or random",
        "an MTU of 22: it is 23 to 65535 bytes",
        "5 bytes of out-of-band data: there are 16 or 32",
        "oob is str: it must be bytes, a bytearray or a memoryview",
        "a timeout of 0 s: it must be above 0",
    ]


async def of_an_old_service() -> list[str]:
    async with open_adapter() as adapter:
        async with await adapter.connect(PEER, ECHO) as channel:
            assert channel.security == "none"
        await (await adapter.listen(0x1019, security="none")).close()
        said = []
        for call in (
            adapter.connect(PEER, ECHO, security="encrypted"),
            adapter.listen(0x1019),
            adapter.open_att(PEER, address_type="public"),
            adapter.pair(PEER),
        ):
            with pytest.raises(AdapterError) as failed:
                await call
            assert failed.value.errno == errno.EOPNOTSUPP
            said.append(str(failed.value))
        return said


def test_an_old_service_knows_no_levels(pair: Pair) -> None:
    pair.start_backend(True, False, False)
    too_old = "usbbtd in the driver domain is too old for that: update it"
    assert pair.guest.run(of_an_old_service) == [
        f"connect to {PEER}, PSM 0x1001, encrypted: {too_old}",
        f'listen on PSM 0x1019, encrypted: {too_old}, or listen with security "none"',
        f"connect to {PEER}, CID 0x0004: {too_old}",
        f"pair with {PEER}: {too_old}",
    ]
