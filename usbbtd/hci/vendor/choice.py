"""Chooses the set-up of a controller by the USB identity of its dongle."""

from typing import Final

from usbbtd.hci.vendor.csr import csr_script
from usbbtd.hci.vendor.intel import intel_script
from usbbtd.hci.vendor.realtek import realtek_script
from usbbtd.hci.vendor.setup import VendorSetup

__all__ = ["setup_for"]

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


def setup_for(vendor_id: int, product_id: int, *, timeout_s: float, came_back: bool = False) -> VendorSetup | None:
    """Returns the set-up of a dongle's controller, or None if it needs none. For the arguments see VendorSetup.

    ``came_back``: whether a dongle has left the bus a moment ago to start its firmware.
    """
    if vendor_id == _INTEL:
        return VendorSetup(intel_script(came_back=came_back), timeout_s=timeout_s, bulk=True)
    if vendor_id == _REALTEK or (vendor_id, product_id) in _REALTEK_INSIDE:
        return VendorSetup(realtek_script(), timeout_s=timeout_s)
    if (vendor_id, product_id) == _CSR_DONGLE:
        return VendorSetup(csr_script(), timeout_s=timeout_s)
    return None
