import struct

import pytest

from tests.hci.vendor.conftest import RESET_ANSWER, Run, answered
from tests.sim.vendor_realtek import complete
from usbbtd.hci.vendor.csr import csr_script, is_copy
from usbbtd.hci.vendor.setup import VendorSetup
from usbbtd.hci.wire.commands import LocalVersionInformation


def version(hci: int, subversion: int, *, company: int = 10, lmp_subversion: int | None = None) -> bytes:
    lmp = subversion if lmp_subversion is None else lmp_subversion
    return struct.pack("<BHBHH", hci, subversion, hci, company, lmp)


#: Versions as people have reported them to Linux, and whether Linux takes them for copies.
@pytest.mark.parametrize(
    ("made", "copy"),
    [
        (version(6, 0x22BB), False),  # the dongles of CSR8510 A10
        (version(4, 0x1899), False),
        (version(3, 0x0C5C), False),
        (version(9, 0x0810, lmp_subversion=0x2312), True),
        (version(6, 0x3120, lmp_subversion=0x22BB), True),
        (version(6, 0x0C5C), True),
        (version(8, 0x22BB), True),
        (version(6, 0x22BB, company=0xFFFF), True),
        (version(9, 0x30A8), False),
    ],
)
def test_copies_give_themselves_away_by_their_versions(made: bytes, *, copy: bool) -> None:
    assert is_copy(LocalVersionInformation.parse(made)) == copy
    setup = VendorSetup(csr_script(), timeout_s=2.0)
    # CSR's answer the reset twice.
    ran = Run(setup, answered([[RESET_ANSWER], [RESET_ANSWER, complete(0x1001, b"\0" + made)]]), {})
    assert ran.result == ("a copy of a CSR dongle" if copy else None, None, None, None, None)


def test_one_that_says_nothing_is_left_to_its_host() -> None:
    ran = Run(VendorSetup(csr_script(), timeout_s=2.0), answered([]), {})
    assert ran.result == (None,) * 5
    assert ran.took_s == 4
