"""Both pumps, each in a process of its own domain of the simulated Xen."""

import asyncio
import errno
import os
import signal
from typing import Any

import pytest
import structlog

from tests.sim.world import World
from tests.support.domain import NewDomain
from tests.support.fixtures import End, StartEnd
from usbbtd.dongles.usbif_frontend import serve_usbif
from usbbtd.xen.error import XenError
from usbbtd.xen.xen import Xen

NAME = "vusb 0 port 1: 1209:b7b7 0001"


@pytest.fixture
async def backend(start_backend: StartEnd) -> End:
    end = await start_backend()
    end.do("plug", 1)
    return end


@pytest.fixture
async def frontend(world: World, usb_domain: int, start_frontend: StartEnd, backend: End) -> End:
    """Connected: rings carry data before both ends have said so, and who is killed in between is missed otherwise."""
    end = await start_frontend()
    for path in (f"/local/domain/0/backend/qusb/{usb_domain}/0", f"/local/domain/{usb_domain}/device/vusb/0"):
        await asyncio.to_thread(world.wait_value, f"{path}/state", "4")
    return end


async def check_echo(end: End, octet: str, name: str = NAME) -> None:
    """Starts the dongle, and has the device behind it say what it is told."""
    end.do("start", name)
    end.do("bulk", name, octet)
    assert await end.collect(0, 1) == (b"", bytes.fromhex(octet))


async def test_a_dongle_from_attach_to_data(frontend: End, backend: End) -> None:
    assert await frontend.see("dongle") == [NAME, 16, 64, "0001"]
    frontend.do("start", NAME)
    frontend.do("control", NAME, "2000000000000300", "030c00")
    assert await frontend.collect(3, 0) == (bytes.fromhex("030c00"), b"")
    transfers = [bytes([index % 256]) * (index * 13 % 1030) for index in range(400)]
    frontend.do("bulk", NAME, *[transfer.hex() for transfer in transfers])
    whole = b"".join(transfers)
    assert await frontend.collect(0, len(whole)) == (b"", whole)


async def test_a_backend_that_says_nothing_of_queues_gets_one_urb_an_endpoint(
    start_backend: StartEnd, start_frontend: StartEnd
) -> None:
    backend = await start_backend("plain_backend")
    backend.do("plug", 1)
    end = await start_frontend()
    await end.see("dongle")
    await check_echo(end, "ab")
    end.do("depths", NAME)
    assert await end.see("depths") == [1, 1, 1]


async def test_an_endpoint_that_stalls_is_cleared(frontend: End, backend: End) -> None:
    await frontend.see("dongle")
    frontend.do("start", NAME)
    backend.do("halt", 1, 0x82)
    backend.do("send", 1, 0x81, "0e00")
    assert await frontend.collect(2, 0) == (b"\x0e\x00", b"")
    frontend.do("bulk", NAME, "aa")
    assert await frontend.collect(0, 1) == (b"", b"\xaa")


async def test_replug(frontend: End, backend: End) -> None:
    await frontend.see("dongle")
    frontend.do("start", NAME)
    for _ in range(3):
        backend.do("unplug", 1)
        assert await frontend.see("lost", NAME) == ["unplugged"]
        backend.do("plug", 1)
        await frontend.see("dongle", NAME)
        frontend.do("start", NAME)
    frontend.do("bulk", NAME, "bb")
    assert await frontend.collect(0, 1) == (b"", b"\xbb")


async def test_two_dongles_and_a_thing_that_is_none(frontend: End, backend: End) -> None:
    await frontend.see("dongle", NAME)
    backend.do("plug", 2, 0x08)
    assert (await frontend.see("info", "usb device ignored"))[0]["device"].startswith("vusb 0 port 2")
    backend.do("plug", 3)
    second = NAME.replace("port 1", "port 3")
    await frontend.see("dongle", second)
    await check_echo(frontend, "01")
    await check_echo(frontend, "03", second)


async def test_a_dongle_that_its_driver_closes_is_offered_again_if_it_was_wanted(frontend: End, backend: End) -> None:
    await frontend.see("dongle")
    frontend.do("start", NAME)
    frontend.do("close", NAME)
    assert await frontend.see("info", "dongle closed") == [{"dongle": NAME, "reason": "given up by its driver"}]
    await frontend.see("dongle", NAME)
    frontend.do("close", NAME)
    await frontend.see("info", "dongle closed")
    backend.do("unplug", 1)
    assert (await frontend.see("info"))[0] == "usb device detached"  # nothing in between


async def test_the_backend_is_killed_and_started_again(start_backend: StartEnd, frontend: End, backend: End) -> None:
    await frontend.see("dongle")
    frontend.do("start", NAME)
    await backend.stop(signal.SIGKILL)
    again = await start_backend()
    again.do("plug", 1)
    assert await frontend.see("lost", NAME) == ["the USB controller was disconnected"]
    await frontend.see("dongle", NAME)
    await check_echo(frontend, "cc")


async def test_the_frontend_is_killed_and_started_again(start_frontend: StartEnd, frontend: End, backend: End) -> None:
    await frontend.see("dongle")
    frontend.do("start", NAME)
    frontend.do("bulk", NAME, *["dd"] * 100)
    await frontend.collect(0, 1)
    await frontend.stop(signal.SIGKILL)
    again = await start_frontend()
    await again.see("dongle", NAME)
    await check_echo(again, "ee")


async def test_both_close_in_order_and_leave_nothing(
    world: World, usb_domain: int, frontend: End, backend: End
) -> None:
    await frontend.see("dongle")
    frontend.do("start", NAME)
    await frontend.stop()
    assert world.read(f"/local/domain/{usb_domain}/device/vusb/0/state") == "6"
    (facts,) = await backend.see("info", "usb frontend disconnected")
    assert facts["urbs_waiting"] == 0  # the frontend has taken back what stood on the IN endpoints
    await backend.stop()
    counts = world.statistics()
    assert (counts[usb_domain]["shared"], counts[usb_domain]["ports"]) == (0, 0)
    assert (counts[0]["mapped"], counts[0]["ports"]) == (0, 0)


async def test_the_toolstack_takes_the_controller_away(
    world: World, usb_domain: int, frontend: End, backend: End
) -> None:
    await frontend.see("dongle")
    frontend.do("start", NAME)
    await asyncio.to_thread(world.detach_vusb, usb_domain, 0)
    assert await frontend.see("lost", NAME) == ["the USB controller was disconnected"]
    await frontend.see("over")
    await backend.see("over")


@pytest.mark.parametrize(
    ("lie", "reason"),
    [
        ("urb index", "impossible"),
        ("unknown id", "not in flight"),
        ("port", "port 31"),
    ],
)
async def test_a_backend_that_breaks_the_protocol(
    start_backend: StartEnd, start_frontend: StartEnd, lie: str, reason: str
) -> None:
    hostile = await start_backend("hostile_backend", lie)
    end = await start_frontend()
    assert reason in (await end.see("error", "usb controller failed"))[0]["reason"]
    await end.see("info", "usb controller disconnected")
    await hostile.stop()
    backend = await start_backend()
    backend.do("plug", 1)
    await end.see("dongle", NAME)


async def test_a_device_that_does_not_answer(start_backend: StartEnd, start_frontend: StartEnd) -> None:
    hostile = await start_backend("hostile_backend", "silence")
    end = await start_frontend()
    assert await end.see("error", "usb device does not work") == [{"port": 1, "reason": "no answer"}]
    await hostile.see("unlink")


async def test_no_such_device(start_usbif: StartEnd, new_domain: NewDomain) -> None:
    end = await start_usbif(new_domain().domid, "frontend", 0)
    (reason,) = await end.see("failed")
    assert "device/vusb/0" in reason


async def test_a_kernel_driver_that_has_the_device_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    links = {"/sys/bus/xen/devices/vusb-3/driver": "../../bus/xen/drivers/vusb"}
    monkeypatch.setattr(os, "readlink", links.__getitem__)
    nothing: Any = None
    log: Any = structlog.stdlib.get_logger()
    with pytest.raises(XenError, match="kernel's driver vusb: blacklist it") as caught:
        await serve_usbif(Xen(nothing, nothing, nothing), 3, nothing, log)
    assert caught.value.errno == errno.EBUSY
