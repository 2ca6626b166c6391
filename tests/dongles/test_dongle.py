"""What stands behind the two protocols of a dongle has all of it."""

import pytest

from usbbtd.dongles.dongle import Dongle
from usbbtd.dongles.driver_side import DriverSide
from usbbtd.dongles.h2_dongle import H2Dongle
from usbbtd.dongles.tap import TappedDongle
from usbbtd.dongles.usb_dongle import UsbDongle


@pytest.mark.parametrize(
    ("protocol", "implementation"), [(UsbDongle, DriverSide), (Dongle, H2Dongle), (Dongle, TappedDongle)]
)
def test_it_has_all_of_it(
    protocol: type[Dongle] | type[UsbDongle], implementation: type[DriverSide] | type[H2Dongle] | type[TappedDongle]
) -> None:
    public = {name for name in dir(protocol) if not name.startswith("_")}
    assert {"name", "serial", "close"} <= public
    code = getattr(implementation.__init__, "__code__", None)  # a compiled class has all its attributes in dir()
    assert public <= {*dir(implementation), *(code.co_names if code else ())}
