"""Tells a controller of CSR's from a copy of one. Copies have the USB identity of CSR's most sold dongle, 0a12:0001.

A copy says that it has what it has not, and a version that its features do not fit. For our start that changes
nothing: it goes by features and listed commands, never by versions; a command that is refused or never answered costs
what needs it (losses.py); and stored link keys and the reporting of erroneous data, which copies are worst at, are left
alone. So what is left is to say what it is.
"""

from typing import Final

from usbbtd.hci.vendor.steps import Ask, SetupResult, SetupScript, ask
from usbbtd.hci.wire.commands import LocalVersionInformation, ReadLocalVersionInformation, Reset

__all__ = ["csr_script", "is_copy"]

_CSR = 0x000A

#: The last firmware (LMP subversion) of CSR's that had a version of HCI at most.
_NEWEST: Final = ((0x034E, 1), (0x0529, 2), (0x0C5C, 3), (0x1899, 4), (0x22BB, 6))


def csr_script() -> SetupScript[SetupResult]:
    """Finds out whether the controller is CSR's."""
    yield Ask(Reset())
    version = yield from ask(ReadLocalVersionInformation(), LocalVersionInformation)
    if version is None:
        return SetupResult()
    return SetupResult("a copy of a CSR dongle" if is_copy(version) else None)


def is_copy(version: LocalVersionInformation) -> bool:
    """Tells whether a controller with a USB identity of CSR's is none.

    CSR's have the number of their firmware in both subversions, and no version of HCI for which that is too old.
    """
    if version.company_identifier != _CSR or version.hci_subversion != version.lmp_subversion:
        return True
    for firmware, newest in _NEWEST:
        if version.lmp_subversion <= firmware:
            return version.hci_version > newest
    return False
