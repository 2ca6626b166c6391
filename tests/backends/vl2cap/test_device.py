"""What a guest's device publishes and takes; its whole life under xenbus is in test_service.py."""

from collections.abc import AsyncIterator, Callable
from typing import Any, cast

import pytest
import structlog

from tests.support import air
from tests.support.plain_xen import PlainXen as PLAIN_XEN
from usbbtd.backends.access import Access
from usbbtd.backends.vl2cap.device import GuestDevice
from usbbtd.errors import RemoteProtocolError
from usbbtd.guest.connection import Connection
from usbbtd.l2capif.limits import FrontendLimits
from usbbtd.policy.rules import Identity
from usbbtd.radio.adapter import SharedAdapter
from usbbtd.xen.device import XenbusDevice
from usbbtd.xen.error import XenError
from usbbtd.xen.store import Store
from usbbtd.xenbus import Action

GUEST, DRIVER = 7, 3


class Nodes:
    """A store with the nodes of one device."""

    def __init__(self, nodes: dict[str, str]) -> None:
        self.nodes = nodes

    async def read(self, path: str) -> str | None:
        return self.nodes.get(path.removeprefix("other/"))


@pytest.fixture
async def xen() -> AsyncIterator[Any]:
    world = PLAIN_XEN()
    yield world
    assert world.held == (0, 0, 0)


@pytest.fixture
async def frontend(xen: Any) -> AsyncIterator[Connection]:
    connection = Connection(xen, DRIVER, 5, lambda _: None)
    yield connection
    connection.close()


@pytest.fixture
def device_with(adapter: SharedAdapter, xen: Any) -> Callable[..., Any]:
    """The device of a guest that has written these nodes."""

    def make(nodes: dict[Any, Any], limits: FrontendLimits | None = None, access: Access | None = None) -> GuestDevice:
        device = XenbusDevice(cast(Store, Nodes(nodes)), "backend", "backend/vl2cap/7/0")
        device.other_path, device.other_domid = "other", GUEST
        return GuestDevice(
            device,
            identity=Identity(GUEST, "work"),
            access=access or air.access(),
            adapter=adapter,
            xen=xen,
            limits=limits or FrontendLimits(),
            log=structlog.get_logger(),
        )

    return make


async def test_it_publishes_its_limits_and_features(device_with: Callable[..., Any]) -> None:
    device = device_with({}, FrontendLimits(max_page_order=3), air.access(channels=5))
    nodes = await device.perform(Action.PUBLISH)
    assert nodes == {
        "versions": "1", "max-page-order": "3", "max-channels": "5", "feature-bredr": "1", "feature-le": "1",
        "feature-scan": "1", "feature-advertise": "1", "feature-echo": "1", "feature-info-wait": "1",
    }  # fmt: skip


async def test_a_guest_costs_few_nodes(device_with: Callable[..., Any]) -> None:
    """With those of the toolstack, 6 besides tags, 64 guests stay below the 1000 of xenstored's default quota."""
    nodes = await device_with({}, FrontendLimits(), air.access()).perform(Action.PUBLISH)
    assert (6 + len(nodes)) * 64 < 1000


async def test_it_attaches_and_detaches_any_number_of_times(
    device_with: Callable[..., Any], frontend: Connection, xen: Any
) -> None:
    device = device_with(frontend.nodes)
    assert device.statistics() == {}
    for _ in range(3):
        await device.perform(Action.ATTACH)
        assert xen.mapped == 1
        assert device.statistics()["requests"] == 0
        await device.perform(Action.DETACH)
        await device.perform(Action.DETACH)
        assert xen.mapped == 0


@pytest.mark.parametrize(
    "wrong",
    [{"version": "2"}, {"version": None}, {"ring-ref": "-1"}, {"ring-ref": "4294967296"}, {"ring-ref": "../x"},
     {"event-channel": None}, {"event-channel": ""}],
)  # fmt: skip
async def test_nodes_that_make_no_sense(
    device_with: Callable[..., Any], frontend: Connection, xen: Any, wrong: dict[Any, Any]
) -> None:
    device = device_with(frontend.nodes | wrong)
    with pytest.raises(RemoteProtocolError):
        await device.perform(Action.ATTACH)
    await device.perform(Action.DETACH)
    assert xen.mapped == 0


@pytest.mark.parametrize("wrong", [{"ring-ref": "999999"}, {"event-channel": "999999"}])
async def test_what_cannot_be_mapped_or_bound(
    device_with: Callable[..., Any], frontend: Connection, xen: Any, wrong: dict[str, str]
) -> None:
    device = device_with(frontend.nodes | wrong)
    with pytest.raises(XenError):
        await device.perform(Action.ATTACH)
    assert xen.mapped == 0
