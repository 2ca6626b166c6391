import asyncio
import errno

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.domain import Domain
from usbbtd.guest import AdapterError, Channel, Peer, open_adapter
from usbbtd.guest.channel import ring_order
from usbbtd.l2capif.wire import largest_message

PEER = "C0:FF:EE:00:00:01"
ECHO, TAKEN = 0x1001, 0x1017
ORDERS = st.integers(1, 6)


@given(mtu=st.integers(0, 0xFFFF), most=ORDERS)
def test_rings_hold_four_sdus_where_the_backend_lets_them(mtu: int, most: int) -> None:
    if mtu > largest_message(most):
        with pytest.raises(ValueError, match=f"SDUs of {largest_message(most)} bytes at most"):
            ring_order(mtu, most)
        return
    order = ring_order(mtu, most)
    assert 1 <= order <= most
    half = 2048 << order
    assert order == most or half >= 4 * (mtu + 4)
    assert order == 1 or half // 2 < 4 * (mtu + 4)


async def facts() -> list[object]:
    async with open_adapter() as adapter:
        async with await adapter.connect(PEER, ECHO, mtu=512) as channel:
            assert channel.peer == Peer(PEER, "bredr")
            seen = [channel.psm, channel.tx_mtu, channel.rx_mtu, repr(channel)]
            for tx_mtu in (channel.tx_mtu, channel.tx_mtu + 1):
                try:
                    await channel.send_many([b"", b"x" * tx_mtu])
                except ValueError as error:
                    seen.append(str(error))
        async with await adapter.connect(PEER, 0x81, address_type="random") as channel:
            seen += [channel.peer.address_type, channel.tx_mtu]
        return seen


def test_what_a_channel_says_of_itself(guest: Domain) -> None:
    assert guest.run(facts) == [
        ECHO,
        4092,  # the ring is smaller than the peer's MTU
        512,
        f"<Channel {PEER} (bredr) PSM 0x1001>",
        f"an SDU of 4093 bytes; {PEER} takes 4092 at most",
        "random",
        4096,
    ]


async def echo(channel: Channel) -> None:
    await channel.send(b"ping")
    assert await channel.recv() == b"ping"


async def listening() -> None:
    async with open_adapter() as adapter:
        async with await adapter.listen(0x1019) as listener, await listener.accept() as channel:
            assert (channel.peer, channel.psm) == (Peer("C0:FF:EE:00:00:12", "bredr"), 0x1019)
            await echo(channel)
            await listener.close()
            await echo(channel)  # what was accepted stays
        with pytest.raises(AdapterError, match="accept on PSM 0x1019: the listener was closed"):
            await listener.accept()

        accepted = []
        async with await adapter.listen(0x83, transport="le") as listener, asyncio.TaskGroup() as tasks:
            async for channel in listener:
                accepted.append(channel.peer)
                await channel.close()
                tasks.create_task(listener.close())
        assert accepted == [Peer("F0:F1:F2:00:00:12", "random")]

        async with await adapter.listen(0x101B) as listener:
            await (await listener.accept()).abort()
            waiting = asyncio.create_task(listener.accept())
            await asyncio.sleep(0)
        with pytest.raises(AdapterError, match="ended before it was answered"):
            await waiting

        with pytest.raises(AdapterError, match="listen on PSM 0x1017: in use already") as taken:
            await adapter.listen(TAKEN)
        assert taken.value.errno == errno.EADDRINUSE


def test_listeners(guest: Domain) -> None:
    guest.run(listening)
