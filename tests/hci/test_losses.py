from usbbtd.hci.losses import LOSSES
from usbbtd.hci.wire.commands import HciCommand


def test_every_command_has_one_row() -> None:
    """Two rows would hide each other; one that is missing would end the service when the controller is silent."""
    assert LOSSES.keys() == set(HciCommand.registry.values())
    assert len({id(made) for made in LOSSES}) == len(HciCommand.registry)
