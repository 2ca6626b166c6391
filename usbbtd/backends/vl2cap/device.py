"""Serves the vl2cap device of one guest, from its directory in xenstore to its removal."""

from collections.abc import Mapping

from structlog.typing import FilteringBoundLogger

from usbbtd import xenbus
from usbbtd.abi import layout
from usbbtd.backends.access import Access
from usbbtd.backends.vl2cap.connection import GuestConnection
from usbbtd.backends.vl2cap.info import GuestInfo
from usbbtd.identifiers import LAST_U32
from usbbtd.l2capif import nodes
from usbbtd.l2capif.limits import FrontendLimits
from usbbtd.policy.rules import GuestPolicy, Identity
from usbbtd.radio.adapter import SharedAdapter
from usbbtd.xen.device import XenbusDevice
from usbbtd.xen.xen import Xen
from usbbtd.xenbus import Action

VERSION = layout.constants.L2CAPIF_VERSION


class GuestDevice:
    """Serves one guest's vl2cap device, ``backend/vl2cap/<guest>/<devid>``; ``perform`` is for ``XenbusDevice.run``."""

    def __init__(
        self, device: XenbusDevice, *, xen: Xen, identity: Identity, access: Access, adapter: SharedAdapter,
        limits: FrontendLimits, log: FilteringBoundLogger,
    ) -> None:  # fmt: skip
        self.identity = identity
        self._device = device
        self._access = access
        self._adapter = adapter
        self._xen = xen
        self._limits = limits
        self._log = log
        self._connection: GuestConnection | None = None
        domid, devid = device.path.split("/")[-2:]
        self._numbers = int(domid), int(devid)  # the guest's domain, and the device's number

    async def perform(self, action: Action) -> Mapping[str, str] | None:
        """Publishes the features, connects the guest or disconnects it, as the handshake asks."""
        match action:
            case Action.PUBLISH:
                return self._features()
            case Action.ATTACH:
                await self._attach()
            case Action.DETACH:
                self._detach()
        return None

    def change_policy(self, policy: GuestPolicy) -> None:
        """Takes a new policy, and ends what the guest has and may not have any more; nothing else is touched."""
        self._access.change(policy)
        if self._connection is not None:
            self._connection.review(self._own_limits())

    def statistics(self) -> dict[str, int]:
        """Returns the counters of the current connection; empty without one."""
        return self._connection.statistics() if self._connection is not None else {}

    def info(self) -> GuestInfo:
        domid, devid = self._numbers
        return GuestInfo(
            domid=domid,
            devid=devid,
            name=self.identity.name,
            state=xenbus.STATE_NAMES[self._device.state],
            reason=self._device.reason,
            connection=self._connection.info(domid, devid) if self._connection is not None else None,
        )

    def _features(self) -> dict[str, str]:
        return {
            nodes.VERSIONS: str(VERSION),
            nodes.MAX_PAGE_ORDER: str(self._limits.max_page_order),
            nodes.MAX_CHANNELS: str(self._access.channels),
            nodes.FEATURE_BREDR: "1",
            nodes.FEATURE_LE: "1",
            nodes.FEATURE_SCAN: "1",
            nodes.FEATURE_ADVERTISE: "1",
            nodes.FEATURE_ECHO: "1",
            nodes.FEATURE_INFO_WAIT: "1",
        }

    def _own_limits(self) -> FrontendLimits:
        return self._limits._replace(channels=self._access.channels)

    async def _attach(self) -> None:
        device = self._device
        await device.read_other_int(nodes.VERSION, VERSION, VERSION)
        ref = await device.read_other_int(nodes.RING_REF, 0, LAST_U32)
        port = await device.read_other_int(nodes.EVENT_CHANNEL, 0, LAST_U32)
        self._connection = GuestConnection(
            device.other_domid, ref, port, guest=self.identity.name or "", xen=self._xen, adapter=self._adapter,
            access=self._access, limits=self._own_limits(), broken=device.fail, log=self._log,
        )  # fmt: skip
        self._log.info("guest connected")

    def _detach(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            statistics = connection.statistics()
            connection.close()
            self._log.info("guest disconnected", reason=self._device.reason or "closed by the guest", **statistics)
