"""Looks for BR/EDR devices, and asks those for their names that do not say them, for any number of users at a time."""

from collections.abc import Callable
from typing import NamedTuple

from structlog.typing import FilteringBoundLogger

from usbbtd.hci.events import DeviceFound, InquiryEnded, NameFound
from usbbtd.hci.losses import Cost
from usbbtd.radio.controller import Controller
from usbbtd.radio.errors import NoDongle, NotSupported
from usbbtd.radio.heard import HeardContents

InquiryEvent = DeviceFound | InquiryEnded | NameFound

#: The most devices that are asked for their names at a time. The inquiry pauses meanwhile; others are asked when they
#: are found again.
MAX_ASKED = 4
#: The most devices whose names, or whose silence, is remembered; the oldest is forgotten for another.
MAX_NAMED = 256

_COMPLETE_NAME = 0x09  # the type of a structure of an Extended Inquiry Response (Vol 3, Part C, 8)


class InquiryUser(NamedTuple):
    """Takes what an inquiry finds.

    ``names``: whether devices that do not say their whole names are asked for them, each once. ``duplicates``: whether
    each response of a device is reported, not only each content once. ``report`` gets devices, and names as far as
    there are any. ``ended`` is called when the inquiry has ended by itself.
    """

    names: bool
    duplicates: bool
    report: Callable[[DeviceFound | NameFound], None]
    ended: Callable[[], None]


class Inquiries:
    """Shares the inquiry of one adapter, which ends with the dongle.

    ``controller`` returns the controller that is up, or None.
    """

    def __init__(self, controller: Callable[[], Controller | None], log: FilteringBoundLogger) -> None:
        self._controller = controller
        self._log = log
        self._users: dict[InquiryUser, HeardContents] = {}
        self._names: dict[bytes, bytes | None] = {}  # by address; None: it was asked, and has not told it
        self._asked: set[bytes] = set()  # who is asked now
        self._forgotten = 0  # by users that inquire no more

    def __len__(self) -> int:
        return len(self._users)

    @property
    def can_inquire(self) -> bool:
        """Returns whether the controller has BR/EDR, and inquiring is none of its losses (hci/losses.py)."""
        controller = self._controller()
        return controller is not None and controller.host.supports_bredr and Cost.INQUIRING not in controller.host.lost

    @property
    def forgotten(self) -> int:
        """Returns how many contents were forgotten, so that they may be reported again."""
        return self._forgotten + sum(heard.forgotten for heard in self._users.values())

    def start(self, user: InquiryUser) -> None:
        """Starts to look for devices, for this user too, until ``stop``. Raises NoDongle, NotSupported."""
        if self._controller() is None:
            raise NoDongle("there is no Bluetooth adapter")
        if not self.can_inquire:
            raise NotSupported("the controller does not find BR/EDR devices")
        self._users[user] = HeardContents()
        self._apply()

    def stop(self, user: InquiryUser) -> None:
        """Ends a user's inquiry. Idempotent."""
        if (heard := self._users.pop(user, None)) is None:
            return
        self._forgotten += heard.forgotten
        if not any(other.names for other in self._users):
            self._forget_names()
        self._apply()

    def end(self) -> None:
        """Tells all users that their inquiries have ended: the controller is gone, or has refused to inquire."""
        self._forgotten = self.forgotten
        users, self._users = self._users, {}
        self._forget_names()
        for user in users:
            user.ended()

    def receive(self, event: InquiryEvent) -> None:
        """Takes the controller's events about inquiries and names."""
        match event:
            case DeviceFound():
                self._found(event)
            case NameFound():
                self._named(event)
            case InquiryEnded(status):
                self._log.warning("inquiry refused by the controller", status=status)
                self.end()

    # Inside.

    def _found(self, device: DeviceFound) -> None:
        for user, heard in tuple(self._users.items()):
            if user.duplicates or heard.is_new("device", device.address, device.class_of_device, device.data):
                user.report(device)
        if any(user.names for user in self._users) and not _says_its_name(device.data):
            self._name(device.address)

    def _name(self, address: bytes) -> None:
        """Tells a device's name to those who do not know it yet, or asks for it."""
        controller = self._controller()
        if (name := self._names.get(address)) is not None:
            self._tell(NameFound(address, 0, name))
        elif address not in self._names and controller is not None and len(self._asked) < MAX_ASKED:
            if len(self._names) >= MAX_NAMED:
                del self._names[next(iter(self._names))]
            self._names[address] = None
            self._asked.add(address)
            controller.host.read_name(address, controller.now())
            controller.flush_soon()

    def _named(self, named: NameFound) -> None:
        if named.address in self._asked:
            self._asked.remove(named.address)
            if not named.status:
                self._names[named.address] = named.name
                self._tell(named)

    def _tell(self, named: NameFound) -> None:
        for user, heard in tuple(self._users.items()):
            if user.names and heard.is_new("name", named.address, named.name):
                user.report(named)

    def _forget_names(self) -> None:
        if (controller := self._controller()) is not None:
            for address in self._asked:
                controller.host.cancel_read_name(address)
        self._asked.clear()
        self._names.clear()

    def _apply(self) -> None:
        if (controller := self._controller()) is None:
            return
        if self._users:
            # A change begins the inquiry anew: so a new user hears of everyone.
            controller.host.start_inquiry(duplicates=any(user.duplicates for user in self._users))
        else:
            controller.host.stop_inquiry()
        controller.flush_soon()


def _says_its_name(untrusted_data: bytes) -> bool:
    """Returns whether an Extended Inquiry Response has the whole name. What is cut short ends it, as a length of 0."""
    offset = 0
    while offset + 1 < len(untrusted_data) and (length := untrusted_data[offset]):
        if untrusted_data[offset + 1] == _COMPLETE_NAME and offset + length < len(untrusted_data):
            return True
        offset += 1 + length
    return False
