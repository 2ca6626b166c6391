"""The limits of all that a frontend can make grow."""

from typing import NamedTuple

from usbbtd.l2capif.wire import largest_message


class FrontendLimits(NamedTuple):
    """How much one frontend may have at a time. ``requests``: those without an answer, apart from RELEASEs.

    It is less than the 32 slots of the command ring: a frontend can always RELEASE, however many ACCEPTs wait.
    """

    channels: int = 64
    listeners: int = 16
    scans: int = 2
    advertisements: int = 1
    echoes: int = 4
    agents: int = 1
    pairings: int = 1
    requests: int = 24
    backlog: int = 8
    max_page_order: int = 5

    @property
    def max_mtu(self) -> int:
        """Returns the length of the longest SDU that fits into the largest data ring, in octets."""
        return min(largest_message(self.max_page_order), 0xFFFF)
