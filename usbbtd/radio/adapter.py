"""Gives guests' devices the Bluetooth adapter: its channels, its echoes, its scans and advertising, and its facts.

An adapter outlives its dongles. No data comes through here: the stack and its channels have it to themselves.
"""

import asyncio
import logging
from collections.abc import Callable

from structlog.typing import FilteringBoundLogger

from usbbtd.bluetooth import BREDR, LE, TRANSPORTS, format_address
from usbbtd.dongles.dongle import Dongle
from usbbtd.dongles.firmware import FirmwareDirectory
from usbbtd.dongles.tap import Tap
from usbbtd.hci import events as hci_events
from usbbtd.hci.vendor.choice import setup_for
from usbbtd.l2cap.limits import L2capLimits
from usbbtd.radio.air import Air
from usbbtd.radio.channels import Channels
from usbbtd.radio.controller import STARTS_FIRMWARE, CallSoon, Controller, LinkOwner
from usbbtd.radio.echoes import SharedEchoes
from usbbtd.radio.errors import NoDongle
from usbbtd.radio.info import OFF, AdapterStatus
from usbbtd.radio.links import Links, RadioLink
from usbbtd.radio.security import BondStore, LinkSecurity
from usbbtd.radio.stack import L2capStack
from usbbtd.security.bonds import is_resolvable
from usbbtd.security.limits import SecurityLimits

#: A dongle that comes within so many seconds after one has left to start its firmware, and is in want of firmware all
#: the same, is given up: it would go on like that for ever.
COME_BACK_S = 60.0

#: The reasons given to users when the service, or root, ends the adapter.
STOPPING = "usbbtd stops"
SWITCHED_OFF = "the adapter was switched off"
RESET = "the adapter is being reset"
LACKS_FIRMWARE = "its controller is one of Realtek's, and is started anew to get its firmware"
#: Ends of an adapter that are no faults.
_EXPECTED = (STOPPING, SWITCHED_OFF, RESET, STARTS_FIRMWARE, LACKS_FIRMWARE)

#: The most kinds of dongles that are remembered as such.
MAX_REALTEK = 16


class SharedAdapter:
    """Shares one adapter, which has at most one dongle at a time, among any number of users.

    ``channels``, ``echoes`` and ``air`` are what users ask for something; ``links`` and ``security`` are what those
    have in common, and ``agents`` are who pairs for users. ``call_soon``: see ``Controller``. ``bonds``: keeps the
    bonds of the adapter's identity, which is ours, not the dongle's; without it they are forgotten with the adapter.
    ``firmware``: where controllers' firmware is; by default where Linux has it.
    """

    def __init__(
        self, *, random_address: bytes, command_timeout_s: float, limits: L2capLimits, log: FilteringBoundLogger,
        call_soon: CallSoon | None = None, bonds: BondStore | None = None, firmware: FirmwareDirectory | None = None,
    ) -> None:  # fmt: skip
        self._random_address = random_address
        self._command_timeout_s = command_timeout_s
        self._limits = limits
        self._log = log
        self._call_soon = call_soon
        self._firmware = firmware or FirmwareDirectory()
        self._left: float | None = None  # when a dongle has left last to start its firmware
        self._realtek: set[tuple[int, int]] = set()  # dongles found to have such controllers, by vendor and product
        self._stack: L2capStack | None = None  # that of the dongle
        self._up = asyncio.Event()
        self._tried = asyncio.Event()
        self.air = Air(self._controller_that_is_up, log, resolve=self._resolve)
        identities = self.air.identities
        self.links = Links(self._stack_that_is_up, log, locate=self._locate, known_as=self._known_as)
        self.echoes = SharedEchoes(self.links)
        self.security = LinkSecurity(
            self.links, bonds, self._level_changed, identities.forget, limits=SecurityLimits(), log=log
        )
        self.agents = self.security.agents
        self.channels = Channels(self._stack_that_is_up, self.links, self.echoes, self.security)
        self._observers: set[Callable[[], None]] = set()
        self._tap: Tap | None = None
        self._on = asyncio.Event()  # unset while it is switched off
        self._on.set()

    # Facts.

    @property
    def powered(self) -> bool:
        """Returns whether there is a dongle whose controller is up."""
        return self._up.is_set()

    @property
    def address(self) -> bytes:
        """Returns the controller's public address, as six octets in HCI's order; zeros without a dongle."""
        return self._controller.host.address if self._controller and self.powered else bytes(6)

    @property
    def le_address(self) -> bytes:
        """Returns the random static address that LE peers see; zeros while there is no LE."""
        return self._random_address if self.transports[LE] else bytes(6)

    @property
    def transports(self) -> tuple[bool, bool]:
        """Returns which transports can be used now: (whether BR/EDR, whether LE)."""
        if (controller := self._controller_that_is_up()) is None:
            return False, False
        return controller.host.supports_bredr, controller.host.supports_le

    def observe(self, changed: Callable[[], None]) -> None:
        """Calls ``changed`` whenever one of these facts, or what ``air`` can do, has changed, until ``ignore``."""
        self._observers.add(changed)

    def ignore(self, changed: Callable[[], None]) -> None:
        """Ends ``observe``. Idempotent."""
        self._observers.discard(changed)

    async def wait_powered(self) -> None:
        await self._up.wait()

    async def wait_tried(self) -> None:
        """Waits until a dongle has come up, or has been given up, for the first time."""
        await self._tried.wait()

    def is_stuck(self) -> bool:
        """Returns whether a timeout of the controller's is overdue and nothing will deal with it: a bug of ours."""
        return self._controller is not None and self._controller.is_stuck()

    def statistics(self) -> dict[str, int]:
        """Returns counters of the adapter, of its dongle, and of the HCI and L2CAP cores under it."""
        own = {"links": len(self.links.by_handle), **self.channels.statistics(), **self.air.statistics()}
        if self._stack is not None:
            own |= self._stack.controller.statistics() | self._stack.statistics()
        return own

    def info(self) -> AdapterStatus:
        controller = self._controller
        found = controller.host.controller if controller is not None else None
        return AdapterStatus(
            state=controller.state if controller is not None else "no dongle" if self._on.is_set() else OFF,
            dongle=controller.dongle.name if controller is not None else None,
            address=format_address(found.address) if found else None,
            random_address=format_address(self._random_address),
            transports=[name for name, there in zip(TRANSPORTS, self.transports, strict=True) if there],
            missing=controller.missing() if controller is not None else [],
            controller=controller.kind if controller is not None else None,
            hci_version=found.hci_version if found else None,
            company_identifier=found.company_identifier if found else None,
            bredr_buffers=found.bredr_buffers if found else None,
            le_buffers=found.le_buffers if found else None,
            links=len(self.links.by_handle),
            **self.channels.statistics(),
            scans=self.air.scans,
            advertising=self.air.advertising,
        )

    def set_tap(self, tap: Tap | None) -> None:
        """Shows ``tap`` every packet of this dongle and of later ones: see ``Controller.set_tap``."""
        self._tap = tap
        if self._controller is not None:
            self._controller.set_tap(tap)

    # The dongle.

    async def take_dongle(self, dongle: Dongle) -> None:
        """Takes a Bluetooth dongle and starts its controller; closes it if there is another one already.

        While the adapter is switched off, the dongle waits here, and nothing is sent to it.
        """
        await self._on.wait()
        if self._controller is not None:
            self._log.warning("dongle ignored", dongle=dongle.name, reason="this adapter has a dongle already")
            dongle.close()
            return
        self._log.info("dongle found", dongle=dongle.name)
        timeout_s = self._command_timeout_s
        came_back = self._left is not None and asyncio.get_running_loop().time() < self._left + COME_BACK_S
        identity = dongle.vendor_id, dongle.product_id
        setup = setup_for(*identity, timeout_s=timeout_s, came_back=came_back, realtek=identity in self._realtek)
        controller = Controller(
            dongle, self, random_address=self._random_address, command_timeout_s=timeout_s, log=self._log,
            call_soon=self._call_soon, secure=True, setup=setup, firmware=self._firmware,
        )  # fmt: skip
        controller.set_tap(self._tap)
        self._stack = L2capStack(controller, self.links, self.channels, limits=self._limits, keeper=self.security)
        controller.start()

    def switch(self, *, on: bool) -> None:
        """Gives up the dongle until the adapter is switched on again, or lets it have one. Idempotent."""
        if on:
            self._on.set()
            return
        self._on.clear()
        if self._controller is not None:
            self._controller.close(SWITCHED_OFF)

    def reset(self) -> bool:
        """Closes the dongle, which its source then opens anew, with all that is on it. Returns False without one."""
        if self._controller is None:
            return False
        self._controller.close(RESET)
        return True

    async def disconnect_all(self, timeout_s: float) -> None:
        """Disconnects every link in order, as far as peers answer within ``timeout_s``."""
        await self.links.disconnect_all(timeout_s)

    def close(self) -> None:
        """Closes the dongle, with which links, channels and scans end."""
        if self._controller is not None:
            self._controller.close(STOPPING)

    # The controller calls these.

    def owner_of(self, link: hci_events.Connected) -> LinkOwner:
        """Returns who owns a new link. All are the stack's: no guest has a controller of its own."""
        assert self._stack is not None  # it is its controller's link
        return self._stack

    def receive_hci_event(self, event: hci_events.Event) -> None:
        stack = self._stack
        assert stack is not None  # it is its controller's event
        match event:
            case hci_events.Ready():
                self._controller_up(stack)
            case hci_events.ConnectFailed():
                self.links.connect_failed(event)
            case hci_events.Advertisement() | hci_events.ScanStopped() | hci_events.AdvertisingStopped():
                self.air.receive(event)
            case hci_events.DeviceFound() | hci_events.InquiryEnded() | hci_events.NameFound():
                self.air.receive(event)
            case hci_events.PageScanRefused(status):
                self._log.warning("page scan refused by the controller", status=status)
            case hci_events.CommandGivenUp(command, _, cost):
                self._log.warning("command given up", command=command, missing=cost)
            case _:
                stack.receive_hci_event(event)

    def controller_lost(self, reason: str) -> None:
        """Ends links, channels, echoes and scans; listeners and advertisers wait for the next dongle."""
        level = logging.INFO if reason in _EXPECTED else logging.WARNING
        self._log.log(level, "adapter down", reason=reason)
        self._stack = None
        self._up.clear()
        if reason == STARTS_FIRMWARE:
            self._left = asyncio.get_running_loop().time()
        elif reason != LACKS_FIRMWARE:
            self._tried.set()
        self._tell_observers()  # first: a user whose channel ends must not find the adapter ready
        error = NoDongle(reason)
        self.security.controller_lost(error)
        self.links.controller_lost(error)
        self.echoes.controller_lost(error)
        self.channels.controller_lost(error)
        self.air.controller_lost()

    # Inside.

    @property
    def _controller(self) -> Controller | None:
        return self._stack.controller if self._stack is not None else None

    def _resolve(self, address: bytes) -> tuple[bytes, int] | None:
        """Returns the identity of the bonded peer that has this private address, if one has."""
        bond = self.security.book.resolve(address)
        return None if bond is None else (bond.address, bond.address_type)

    async def _locate(self, address: bytes, address_type: int) -> tuple[bytes, int]:
        """Returns the (address, address type) that a peer has now.

        A bonded peer that may have private addresses has to be heard first, unless the controller resolves them.
        """
        bond = self.security.book.find(address, address_type)
        controller = self._controller_that_is_up()
        facts = controller.host.controller if controller is not None else None
        if bond is None or bond.irk is None or facts is None or facts.resolves or not self.air.can_scan:
            return self.air.identities.locate(address, address_type)
        return await self.air.hear(address, address_type)

    def _known_as(self, address: bytes, address_type: int) -> bytes | None:
        """Returns the public address by which a bonded peer of LE knows us; None if there is no such peer."""
        book = self.security.book
        bond = book.resolve(address) if is_resolvable(address, address_type) else book.find(address, address_type)
        return None if bond is None or bond.transport == BREDR else bond.own_address

    def _controller_that_is_up(self) -> Controller | None:
        return self._controller if self.powered else None

    def _stack_that_is_up(self) -> L2capStack | None:
        return self._stack if self.powered else None

    def _controller_up(self, stack: L2capStack) -> None:
        if stack.controller.lacks_firmware() and len(self._realtek) < MAX_REALTEK:
            dongle = stack.controller.dongle
            self._realtek.add((dongle.vendor_id, dongle.product_id))
            stack.controller.close(LACKS_FIRMWARE)
            return
        host = stack.controller.host
        found = host.controller
        assert found is not None  # it is up
        assert stack.security is not None  # the adapter has made it with one
        stack.security.tell_identities()
        for missing, reason in found.lost.items():
            self._log.warning("transport missing", missing=missing, reason=reason)
        if self.powered:
            self._log.warning("adapter was reset")
            self._tell_observers()  # there may be less than before
            return  # the cores set up again by themselves what was wanted
        self._up.set()
        self._tried.set()
        kind, addr = stack.controller.kind, format_address(host.address)
        self._log.info("adapter up", addr=addr, controller=kind, bredr=host.supports_bredr, le=host.supports_le)
        self.channels.controller_up(stack)
        self.air.controller_up(stack.controller)
        self._tell_observers()

    def _level_changed(self, link: RadioLink) -> None:
        self.channels.level_changed(link)

    def _tell_observers(self) -> None:
        for changed in tuple(self._observers):
            changed()
