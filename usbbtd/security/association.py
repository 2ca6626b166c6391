"""How two devices on BR/EDR pair by what they can show and type: Vol 3, Part C, 5.2.2.4 to 5.2.2.6."""

from typing import Final

from usbbtd.bluetooth import DISPLAY_YES_NO, KEYBOARD_DISPLAY, KEYBOARD_ONLY, NO_INPUT_NO_OUTPUT

# Authentication requirements (Vol 4, Part E, 7.1.29). The first is a bit; the others are added to it.
MITM: Final = 0x01
NO_BONDING: Final = 0x00
DEDICATED_BONDING: Final = 0x02
GENERAL_BONDING: Final = 0x04


def bredr_capability(io_capability: int) -> int:
    """Returns an IO capability as BR/EDR has it: KeyboardDisplay is one of LE alone."""
    return DISPLAY_YES_NO if io_capability == KEYBOARD_DISPLAY else io_capability


def can_authenticate(ours: int, peers: int) -> bool:
    """Tells whether two devices with these capabilities can rule out somebody in the middle."""
    if NO_INPUT_NO_OUTPUT in (ours, peers):
        return False
    return KEYBOARD_ONLY in (ours, peers) or compares_numbers(ours, peers)


def compares_numbers(ours: int, peers: int) -> bool:
    """Tells whether people compare numbers; elsewhere a number to confirm is confirmed without them: "just works"."""
    return ours == peers == DISPLAY_YES_NO


def bonds(requirements: int) -> bool:
    """Tells whether who has these requirements keeps the keys."""
    return requirements & ~MITM != NO_BONDING
