"""The steps of a controller's set-up: what a script may ask for, and what it hears.

A script is a generator: it yields a step, is sent a Reply, and returns a SetupResult. It may raise RemoteProtocolError:
the controller is of no use then.
"""

from collections.abc import Generator
from typing import Final, NamedTuple, TypeVar

from usbbtd.errors import RemoteProtocolError
from usbbtd.hci.vendor.wire import VendorCommand
from usbbtd.hci.wire.commands import HciCommand
from usbbtd.packets import Packet

R = TypeVar("R")

#: The status of a reply if nothing came in time, and of one about a file that cannot be had.
SILENCE: Final = -1


#: How many times as long as other commands a piece of firmware may take: some are checked, or take effect, at once.
#: With the usual two seconds that is what Linux gives them.
PATIENCE: Final = 5


class Ask(NamedTuple):
    """Sends a command, and waits for its answer. The reply has the status and the return parameters after it."""

    command: HciCommand | VendorCommand
    patience: int = 1  # how many times the usual time it may take


class Tell(NamedTuple):
    """Sends a command that is never answered. The reply comes at once."""

    command: HciCommand | VendorCommand


class AwaitEvent(NamedTuple):
    """Waits for an event of the maker's that begins with the octet ``kind``. The reply has what follows that octet.

    It may have come before, since the last ``Tell``.
    """

    kind: int
    limit_s: float


class FirmwareFile(NamedTuple):
    """Asks for the content of a file. A reply that is not 0 says in ``why`` what stands in the way."""

    name: str  # below the directory of firmware, such as "intel/ibt-11-5.sfi"; never made of a dongle's text
    package: str  # Debian's package that has it


class Reply(NamedTuple):
    """What came of a step: 0, the status of a command, or SILENCE."""

    status: int
    data: bytes = b""
    why: str = ""


class FirmwareProblem(NamedTuple):
    """Why a controller has not got its firmware: which file, whose package, and what is wrong with it."""

    file: str
    package: str
    reason: str


class SetupResult(NamedTuple):
    """What came of a set-up."""

    chip: str | None = None  # what the controller is, for people
    firmware: str | None = None  # the file that it has been given
    version: str | None = None  # that of its firmware, as the controller tells it
    problem: FirmwareProblem | None = None
    failure: str | None = None  # why the controller is of no use


Step = Ask | Tell | AwaitEvent | FirmwareFile
SetupScript = Generator[Step, Reply, R]


class FirmwareError(Exception):
    """A file of firmware is damaged, or for another chip. The message says what is wrong with it."""


def load(command: VendorCommand) -> SetupScript[None]:
    """Sends a command with a piece of firmware. Raises RemoteProtocolError if it fails."""
    reply = yield Ask(command, PATIENCE)
    if reply.status:
        how = "is never answered" if reply.status == SILENCE else f"failed with status 0x{reply.status:02X}"
        raise RemoteProtocolError(f"{type(command).__name__} (0x{command.CODE:04X}) {how}")


P = TypeVar("P", bound=Packet)


def ask(command: HciCommand | VendorCommand, answer: type[P]) -> SetupScript[P | None]:
    """Sends a command and returns its answer; None if it fails. Raises RemoteProtocolError if that is malformed."""
    reply = yield Ask(command)
    return None if reply.status else answer.parse(reply.data)
