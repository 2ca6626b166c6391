from usbbtd.dongles.dongle import Dongle
from usbbtd.dongles.driver_side import DriverSide


def test_what_a_driver_sees_is_a_dongle():
    """What a type checker sees of it is in usbif_frontend.py; here, that nothing has another name."""
    public = {name for name in vars(Dongle) if not name.startswith("_")}
    assert public
    assert public <= {*vars(DriverSide), *DriverSide.__init__.__code__.co_names}
