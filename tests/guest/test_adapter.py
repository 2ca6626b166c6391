import asyncio
import errno
import os
from typing import Any

import pytest

from tests.guest.conftest import Pair
from tests.support.domain import Domain, NewDomain
from tests.support.echo_backend import serve
from usbbtd.guest import (
    MAX_ECHO,
    Adapter,
    AdapterError,
    AdapterGone,
    AdapterInfo,
    ChannelLost,
    ConnectTimeout,
    L2capRefused,
    LimitReached,
    Listener,
    NoAdapter,
    NoController,
    PermissionDenied,
    open_adapter,
)
from usbbtd.toolstack import changes
from usbbtd.toolstack import domains as toolstack
from usbbtd.toolstack.devices import make_device
from usbbtd.xen.error import XenError
from usbbtd.xen.store import Store

PEER = "C0:FF:EE:00:00:01"
ECHO, REFUSES, FORBIDDEN, SILENT, NEVER_ANSWERS, DEAF = 0x1001, 0x1003, 0x1005, 0x1007, 0x1009, 0x100B


async def answers() -> list[object]:
    async with open_adapter() as adapter:
        with pytest.raises(L2capRefused, match=f"connect to {PEER}, PSM 0x1003: the peer refused: PSM not") as refused:
            await adapter.connect(PEER, REFUSES)
        assert (refused.value.result, refused.value.name) == (2, "PSM not supported")
        with pytest.raises(PermissionDenied):
            await adapter.connect(PEER, FORBIDDEN)
        with pytest.raises(ConnectTimeout) as late:
            await adapter.connect(PEER, SILENT)
        assert late.value.status == 4
        assert await adapter.read_info() == adapter.info
        assert isinstance(adapter.info, AdapterInfo)
        return list(adapter.info)


def test_information_and_refusals(guest: Domain) -> None:
    features = ["bredr", "le", "scan", "advertise", "echo"]
    assert guest.run(answers) == ["01:00:00:EE:FF:C0", "bredr", True, features, 8, 0, 32764, None]


async def echoes() -> None:
    async with open_adapter() as adapter:
        for data in (b"", b"ping", bytes(range(MAX_ECHO))):
            assert await adapter.echo(PEER, data) == data
        mutable: Any = bytearray(b"ping")
        assert await adapter.echo(PEER[:-1] + "2", mutable) == (b"other" * 10)[:MAX_ECHO]
        with pytest.raises(L2capRefused, match=f"echo of {PEER[:-1]}3: the peer rejects it") as rejected:
            await adapter.echo(PEER[:-1] + "3")
        assert (rejected.value.result, rejected.value.name) == (0, "command not understood")
        with pytest.raises(ConnectTimeout, match=f"echo of {PEER[:-1]}4: no answer") as late:
            await adapter.echo(PEER[:-1] + "4", timeout=None)
        assert late.value.status == 4
        with pytest.raises(PermissionDenied):
            await adapter.echo(PEER[:-1] + "5")


def test_echoes(guest: Domain) -> None:
    guest.run(echoes)


async def echoes_given_up() -> None:
    """As many as there may be, twice: only the last is waited for."""
    async with open_adapter() as adapter:
        for _ in range(2):
            waiting = [asyncio.create_task(adapter.echo(PEER[:-1] + "6", timeout=None)) for _ in range(4)]
            await asyncio.sleep(0)
            await adapter.read_info()  # the backend has them
            for task in waiting:
                task.cancel()
            await asyncio.wait(waiting)
            assert await adapter.echo(PEER, b"ping") == b"ping"


def test_echoes_that_were_cancelled_do_not_count(guest: Domain) -> None:
    guest.run(echoes_given_up)


async def echo_of_an_old_service() -> tuple[int, str]:
    async with open_adapter() as adapter:
        with pytest.raises(AdapterError) as failed:
            await adapter.echo(PEER)
        return failed.value.errno or 0, str(failed.value)


def test_an_old_service_has_no_echo(pair: Pair) -> None:
    pair.start_backend(True, False, False)
    said = f"echo of {PEER}: usbbtd in the driver domain is too old for that: update it, or use a PSM that echoes"
    assert pair.guest.run(echo_of_an_old_service) == [errno.EOPNOTSUPP, said]


async def wrong_arguments() -> list[str]:
    async with open_adapter() as adapter:
        calls: list[tuple[Any, ...]] = [
            (adapter.connect, "nobody", ECHO, {}),
            (adapter.connect, PEER, 0x1002, {}),
            (adapter.connect, PEER, 0x1001, {"address_type": "public"}),
            (adapter.connect, PEER, ECHO, {"address_type": "le"}),
            (adapter.connect, PEER, ECHO, {"mtu": 47}),
            (adapter.connect, PEER, ECHO, {"mtu": 65535}),
            (adapter.connect, PEER, ECHO, {"timeout": 0}),
            (adapter.echo, "nobody", {}),
            (adapter.echo, PEER, bytes(MAX_ECHO + 1), {}),
            (adapter.echo, PEER, "text", {}),
            (adapter.echo, PEER, {"timeout": 0}),
            (adapter.listen, 0x0101, {}),
            (adapter.listen, ECHO, {"backlog": 65536}),
            (adapter.listen, 0x81, {"transport": "both"}),
            (adapter.connect, PEER, 0x20001, {}),
            (adapter.connect, PEER, -1, {}),
            (adapter.connect, PEER, "0x1001", {}),
            (adapter.connect, PEER, True, {}),
            (adapter.connect, PEER, ECHO, {"mtu": 2048.0}),
            (adapter.connect, PEER, ECHO, {"timeout": float("nan")}),
            (adapter.connect, PEER, ECHO, {"timeout": "1"}),
            (adapter.connect, PEER, ECHO, {"address_type": ["bredr"]}),
            (adapter.connect, None, ECHO, {}),
            (adapter.listen, ECHO, {"backlog": None}),
            (adapter.wait_ready, {"timeout": -1}),
            (adapter.listen, ECHO, {"mtu": 65535}),
        ]
        said = []
        for function, *arguments, options in calls:
            with pytest.raises((ValueError, TypeError), match=r".") as wrong:
                await function(*arguments, **options)
            said.append(str(wrong.value))
        with pytest.raises(ValueError, match="1651 bytes of advertising data; 1650 fit"):
            async with adapter.advertise(bytes(1651)):
                pass
        with pytest.raises(ValueError, match="an advertising interval of 19 ms: it is 20 to 10240"):
            async with adapter.advertise(interval_ms=19):
                pass
        async with adapter.advertise(bytes(31), interval_ms=20, connectable=False):
            pass
        return said


def test_wrong_arguments_are_told_before_anything_is_asked(guest: Domain) -> None:
    assert guest.run(wrong_arguments) == [
        "'nobody' is not a Bluetooth address: write it like C0:FF:EE:00:00:01",
        "PSM 0x1002 is not legal: it must be odd, at most 0xfeff, and have an even upper octet, such as 0x1001",
        "PSM 0x1001 is not legal: an SPSM is 0x0001 to 0x00ff",
        "address_type 'le' is none of bredr, public, random",
        "an MTU of 47: it is 48 to 65535 bytes",
        "an MTU of 65535: the driver domain's rings hold SDUs of 32764 bytes at most",
        "a timeout of 0 s: it must be above 0",
        "'nobody' is not a Bluetooth address: write it like C0:FF:EE:00:00:01",
        "an echo of 37 bytes; 36 fit",
        "data is str: it must be bytes, a bytearray or a memoryview",
        "a timeout of 0 s: it must be above 0",
        "PSM 0x0101 is not legal: it must be odd, at most 0xfeff, and have an even upper octet, such as 0x1001",
        "backlog is 65536: it must be from 0 to 65535",
        "transport 'both' is none of bredr, le",
        "PSM 0x20001 is not legal: it must be odd, at most 0xfeff, and have an even upper octet, such as 0x1001",
        "PSM -1 is not legal: it must be odd, at most 0xfeff, and have an even upper octet, such as 0x1001",
        "psm is '0x1001': it must be an integer",
        "psm is True: it must be an integer",
        "mtu is 2048.0: it must be an integer",
        "a timeout of nan s: it must be above 0",
        "timeout is '1': it must be a number of seconds, or None",
        "address_type ['bredr'] is none of bredr, public, random",
        "None is not a Bluetooth address: write it like C0:FF:EE:00:00:01",
        "backlog is None: it must be an integer",
        "a timeout of -1 s: it must be 0 or more",
        "an MTU of 65535: the driver domain's rings hold SDUs of 32764 bytes at most",
    ]


async def crowd() -> int:
    async with open_adapter() as adapter:
        with pytest.raises(NoAdapter, match="device/vl2cap/0 is in use by another program of this guest"):
            async with open_adapter():
                pass
        answers = await asyncio.gather(*(adapter.listen(ECHO) for _ in range(300)), return_exceptions=True)
        assert {type(answer) for answer in answers} == {Listener, LimitReached}
        assert "too many requests wait for the driver domain" in str(answers[-1])
        answers.clear()
        await echo(adapter)
        return (await adapter.read_info()).channels


def test_more_than_is_allowed_at_once(guest: Domain) -> None:
    assert guest.run(crowd) == 0


async def wait_for_a_controller() -> list[object]:
    async with open_adapter(powered=False) as adapter:
        before = adapter.info.powered
        with pytest.raises(NoController, match="the driver domain has no Bluetooth controller now"):
            await adapter.wait_ready(0)
        async with adapter.advertise():
            await adapter.wait_ready(10)
        return [before, adapter.info.powered]


@pytest.mark.parametrize("tells", [False, True])
def test_ready_is_what_has_a_controller(pair: Pair, tells: bool) -> None:
    pair.start_backend(False, tells)
    assert pair.guest.run(wait_for_a_controller) == [False, True]


async def send_all_kinds() -> list[str]:
    async with open_adapter() as adapter, await adapter.connect(PEER, ECHO, timeout=None) as channel:
        for sdu in (b"hello", bytearray(b"hello"), memoryview(b"hello")):
            await channel.send(sdu)
            assert await channel.recv() == b"hello"
        said = []
        for wrong in ("hello", None, 5):
            with pytest.raises(TypeError) as error:
                await channel.send(wrong)  # type: ignore[arg-type]
            said.append(str(error.value))
        with pytest.raises(TypeError, match="it must be a list of them"):
            await channel.send_many(b"hello")  # type: ignore[arg-type]
        mutable: Any = bytearray(3)
        async with adapter.advertise(mutable):
            pass
        return said


def test_what_is_like_bytes_is_sent(guest: Domain) -> None:
    assert guest.run(send_all_kinds) == [
        f"an SDU is {kind}: it must be bytes, a bytearray or a memoryview" for kind in ("str", "NoneType", "int")
    ]


async def echo(adapter: Adapter) -> None:
    async with await adapter.connect(PEER, ECHO) as channel:
        await channel.send(b"hello")
        assert await channel.recv() == b"hello"


async def survives() -> None:
    async with open_adapter() as adapter:
        idle = await adapter.connect(PEER, ECHO)
        read = await adapter.connect(PEER, ECHO)
        await read.send(b"unread")
        full = await adapter.connect(PEER, DEAF)
        listener = await adapter.listen(0x1019)
        await (await listener.accept()).abort()
        scan = adapter.scan()
        for _ in range(4):  # all there are
            await anext(scan)
        waiting: list[asyncio.Task[Any]] = [
            asyncio.create_task(idle.recv()),
            asyncio.create_task(full.send_many([b"x" * 1000] * 100)),
            asyncio.create_task(anext(scan)),
        ]
        pending: list[asyncio.Task[Any]] = [
            asyncio.create_task(adapter.connect(PEER, NEVER_ANSWERS)),
            asyncio.create_task(listener.accept()),
        ]
        store = await Store.open()
        await store.write("data/ready", "")
        await asyncio.wait(waiting + pending)
        for lost in waiting:
            assert type(lost.exception()) is ChannelLost
        for gone in pending:
            assert type(gone.exception()) is AdapterGone
        assert await read.recv() == b"unread"
        for late in (read.recv(), read.send(b"")):
            with pytest.raises(ChannelLost, match="the driver domain's service went away"):
                await late
        for dead in (listener.accept(), adapter.connect(PEER, ECHO), adapter.read_info()):
            with pytest.raises(AdapterGone):
                await dead
        await adapter.wait_ready(10)
        await echo(adapter)
        with pytest.raises(AdapterGone):
            await listener.accept()
        with pytest.raises(AdapterGone):
            await anext(scan)
        for old in (idle, read, full, listener, scan):
            await old.close()
        await echo(adapter)
        await store.close()


def test_it_survives_the_death_of_the_service(pair: Pair) -> None:
    backend = pair.start_backend()
    program = pair.guest.start(survives)
    pair.guest.world.wait_value(f"{pair.guest.home}/data/ready", "")
    backend.kill()
    pair.start_backend()
    program.result()


async def hears_nothing_any_more() -> list[str]:
    reports: list[str] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: reports.append(context["message"]))
    async with open_adapter() as adapter:
        channel = await adapter.connect(PEER, ECHO)
        listener = await adapter.listen(0x1019)
        await (await listener.accept()).abort()
        waiting: list[asyncio.Task[Any]] = [
            asyncio.create_task(channel.recv()),
            asyncio.create_task(adapter.connect(PEER, NEVER_ANSWERS)),
            asyncio.create_task(listener.accept()),
        ]
        await adapter.read_info()
        adapter._xen.evtchn._fail(XenError(errno.EFBIG, "cannot read events"))
        async with asyncio.timeout(10):
            await asyncio.wait(waiting)
            assert [type(task.exception()) for task in waiting] == [ChannelLost, AdapterGone, AdapterGone]
            with pytest.raises(NoAdapter, match="cannot read events"):
                await adapter.wait_ready()
    return reports


def test_a_program_that_hears_nothing_any_more_does_not_wait(guest: Domain) -> None:
    """Xen has its events dropped, for one: what waits fails, and the adapter says why there is no other."""
    assert guest.run(hears_nothing_any_more) == ["all event channels are closed"]


async def is_moved() -> None:
    """Loses a channel twice, and has an echo at the end."""
    store = await Store.open()
    async with open_adapter() as adapter:
        for number in range(3):
            channel = await adapter.connect(PEER, ECHO)
            await store.write("data/connected", str(number))
            if number < 2:
                with pytest.raises(AdapterGone):
                    await channel.recv()
                await adapter.wait_ready(10)
        await echo(adapter)
    await store.close()


async def move(guest: int, driver: int) -> None:
    """In dom0: gives the guest's device another backend, in one step."""
    store = await Store.open()
    await store.transaction(
        lambda t: changes.apply(t, make_device(t, toolstack.Domain(guest, ""), 0, toolstack.Domain(driver, "")))
    )
    await store.close()


def test_it_follows_the_device_to_another_driver_domain(pair: Pair, dom0: Domain, new_domain: NewDomain) -> None:
    guest, second, third = pair.guest, new_domain(), new_domain()
    pair.start_backend()
    running = guest.start(is_moved)
    guest.world.wait_value(f"{guest.home}/data/connected", "0")
    dom0.run(move, guest.domid, second.domid)  # the first lives on, and says nothing
    second.start(serve, guest.domid)
    guest.world.wait_value(f"{guest.home}/data/connected", "1")
    second.destroy()
    dom0.run(move, guest.domid, third.domid)
    third.start(serve, guest.domid)
    running.result()
    held = guest.world.statistics()[guest.domid]
    assert (held["shared"], held["mapped"], held["ports"]) == (0, 0, 0)


async def leave_by_crash() -> None:
    async with open_adapter() as adapter:
        await adapter.connect(PEER, ECHO)
        os._exit(0)


async def come_back() -> None:
    async with open_adapter() as adapter:
        assert adapter.info.channels == 0
        await echo(adapter)


def test_a_program_follows_one_that_crashed(guest: Domain) -> None:
    crashed = guest.start(leave_by_crash)
    assert crashed.wait() == 0
    guest.run(come_back)
    guest.run(come_back)


async def use_up_the_quota() -> None:
    """Of nodes, to the last one."""
    store = await Store.open()

    async def write_many() -> None:
        for number in range(2000):
            await store.write(f"data/full/{number // 100}/{number}", "")

    with pytest.raises(XenError, match="No space left on device"):
        await write_many()
    await store.close()


def test_a_quota_that_is_used_up_for_a_while(guest: Domain) -> None:
    guest.run(use_up_the_quota)
    program = guest.start(waits)
    guest.world.wait_value(f"{guest.home}/device/vl2cap/0/state", "6")
    guest.world.change_store(remove=[f"{guest.home}/data/full"])
    program.result()


@pytest.mark.parametrize(
    ("spin", "kind"),
    [(-1e-6, ValueError), (0.0011, ValueError), (float("nan"), ValueError), ("1", TypeError), (True, TypeError)],
)
async def test_how_long_a_program_may_spin(spin: float, kind: type[Exception]) -> None:
    with pytest.raises(kind, match="spin"):
        async with open_adapter(spin=spin):
            pass


async def missing(device: int) -> list[object]:
    try:
        async with open_adapter(device, timeout=0.2):
            return []
    except NoAdapter as error:
        return [error.errno, str(error)]


def test_what_is_missing(pair: Pair) -> None:
    assert pair.guest.run(missing, 7) == [
        errno.ETIMEDOUT,
        "this guest has no device/vl2cap/7: attach one to it in dom0",
    ]
    number, text = pair.guest.run(missing, 0)
    assert number == errno.ETIMEDOUT
    assert text.startswith("device/vl2cap/0: the backend in domain ")
    assert text.endswith(" does not answer: is usbbtd running there?")


def test_a_device_that_is_none(pair: Pair) -> None:
    domid = pair.guest.domid
    pair.guest.world.attach_vl2cap(domid, domid, 1)
    number, text = pair.guest.run(missing, 1)
    assert number == errno.ENODEV
    assert text.startswith("the adapter failed: ")
    assert text.endswith(f"device/vl2cap/1: a device between domain {domid} and itself")


def test_no_xen(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    monkeypatch.setenv("XENSTORED_PATH", str(tmp_path / "none"))
    number, text = asyncio.run(missing(0))
    assert number == errno.ENOENT
    assert f"{tmp_path}/none" in str(text)


async def waits() -> None:
    async with open_adapter(timeout=None) as adapter:
        await echo(adapter)


def test_it_waits_for_the_device_and_the_service(pair: Pair) -> None:
    world, guest = pair.guest.world, pair.guest
    driver = int(world.read(f"{guest.home}/device/vl2cap/0/backend-id") or 0)
    world.detach_vl2cap(guest.domid, driver, timeout_s=0)
    program = guest.start(waits)
    world.attach_vl2cap(guest.domid, driver)
    pair.start_backend()
    program.result()
