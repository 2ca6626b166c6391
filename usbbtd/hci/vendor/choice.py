"""Chooses the set-up of a controller by the USB identity of its dongle, or by what it has said when it was up.

The scripts are imported only when they are needed: most dongles need none, and they would slow down the start.
"""

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from usbbtd.hci.vendor.setup import VendorSetup

__all__ = ["runs_from_rom", "setup_for"]

_INTEL, _REALTEK, _CSR_DONGLE = 0x8087, 0x0BDA, (0x0A12, 0x0001)

#: Dongles of other makers that have a chip of Realtek's. Whether it has one is asked it once more, by its own version.
_REALTEK_INSIDE: Final = frozenset((
    (0x0489, 0xE085), (0x0489, 0xE08B), (0x04C5, 0x161F), (0x04C5, 0x165C), (0x04C5, 0x1675), (0x04CA, 0x4005),
    (0x04CA, 0x4006), (0x04CA, 0x4007), (0x04F2, 0xB49F), (0x0930, 0x021D), (0x0B05, 0x17DC), (0x0B05, 0x185C),
    (0x0B05, 0x18EF), (0x0B05, 0x190E), (0x0B05, 0x1BF6), (0x0CB5, 0xC547), (0x0CB8, 0xC549), (0x0CB8, 0xC558),
    (0x0CB8, 0xC559), (0x1358, 0xC123), (0x13D3, 0x3394), (0x13D3, 0x3410), (0x13D3, 0x3414), (0x13D3, 0x3416),
    (0x13D3, 0x3458), (0x13D3, 0x3459), (0x13D3, 0x3461), (0x13D3, 0x3462), (0x13D3, 0x3494), (0x13D3, 0x3526),
    (0x13D3, 0x3529), (0x13D3, 0x3548), (0x13D3, 0x3549), (0x13D3, 0x3553), (0x13D3, 0x3555), (0x13D3, 0x3571),
    (0x13D3, 0x3586), (0x13D3, 0x3587), (0x13D3, 0x3592), (0x2230, 0x0016), (0x2357, 0x0604), (0x2550, 0x8761),
    (0x2B89, 0x8761), (0x2C0A, 0x8761), (0x2FF8, 0x3051), (0x2FF8, 0xB011), (0x7392, 0xA611), (0x7392, 0xC611),
    (0x7392, 0xF611),
))  # fmt: skip


#: Realtek's company identifier, and the LMP subversions of its ROMs.
_REALTEK_COMPANY: Final = 0x005D
_REALTEK_ROMS: Final = frozenset((0x1200, 0x8723, 0x8761, 0x8821, 0x8822, 0x8851, 0x8852, 0x8922))


def runs_from_rom(company: int | None, lmp_subversion: int | None) -> bool:
    """Tells whether a controller that is up is one of Realtek's without its firmware, whatever its dongle is called."""
    return company == _REALTEK_COMPANY and lmp_subversion in _REALTEK_ROMS


def setup_for(
    vendor_id: int, product_id: int, *, timeout_s: float, came_back: bool = False, realtek: bool = False
) -> "VendorSetup | None":
    """Returns the set-up of a dongle's controller, or None if it needs none. For the arguments see VendorSetup.

    ``came_back``: whether a dongle has left the bus a moment ago to start its firmware. ``realtek``: whether such a
    dongle's controller has been found to be one of Realtek's.
    """
    inside = realtek or vendor_id == _REALTEK or (vendor_id, product_id) in _REALTEK_INSIDE
    if not inside and vendor_id != _INTEL and (vendor_id, product_id) != _CSR_DONGLE:
        return None
    from usbbtd.hci.vendor.setup import VendorSetup

    if inside:
        from usbbtd.hci.vendor.realtek import realtek_script

        return VendorSetup(realtek_script(), timeout_s=timeout_s)
    if vendor_id == _INTEL:
        from usbbtd.hci.vendor.intel import intel_script

        return VendorSetup(intel_script(came_back=came_back), timeout_s=timeout_s, bulk=True)
    from usbbtd.hci.vendor.csr import csr_script

    return VendorSetup(csr_script(), timeout_s=timeout_s)
