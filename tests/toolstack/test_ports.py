"""usbbtd was killed while QEMU had requests of it: its successor, and dom0's service, on the simulated Xen."""

from pathlib import Path

import pytest

from tests.support.host import Host


@pytest.fixture
def driver(host: Host) -> int:
    """Its domid: a domain with a controller that is connected, though to nobody any more."""
    domid = host.create("sys-bt")
    connect(host, domid)
    return domid


def connect(host: Host, domid: int) -> str:
    """A controller with a device on its first port; the backend's directory."""
    host.world.attach_vusb(domid, 0)
    back, front = paths(domid)
    record = f"/libxl/{domid}/device/vusb/0/backend"
    nodes = {f"{back}/port/1": "1-2", f"{back}/port/2": "", f"{back}/state": "4", f"{front}/state": "4", record: back}
    host.world.change_store(write=[(path, value, None) for path, value in nodes.items()])
    return back


def paths(domid: int) -> tuple[str, str]:
    return f"/local/domain/0/backend/qusb/{domid}/0", f"/local/domain/{domid}/device/vusb/0"


def test_ports_are_empty_while_the_old_connection_is_closed(host: Host, driver: int, tmp_path: Path) -> None:
    back, front = paths(driver)
    watch = host.watch("--config-dir", str(tmp_path))
    watch.wait_logged("usbbt-toolstack watches")
    usbbtd = host.serve(driver)
    usbbtd.wait_logged("usb ports are to be emptied")
    host.world.wait_value(f"{front}/state", "5")
    assert host.world.read(f"{back}/port/1") == ""
    host.world.change_store(write=[(f"{back}/state", "6", None)])
    host.world.wait_value(f"{front}/state", "1")
    host.world.change_store(write=[(f"{back}/state", "2", None)])
    host.world.wait_value(f"{front}/state", "3")
    host.world.wait_value(f"{back}/port/1", "1-2")
    assert host.world.read(f"{back}/port/2") == ""
    assert host.world.read(f"{back}/detached/1") is None
    watch.wait_logged("usb ports filled again", f"domid={driver}")


def test_a_controller_that_comes_after_its_domain(host: Host, tmp_path: Path) -> None:
    (tmp_path / "witness.cfg").write_text('name = "witness"\nvl2cap = [ "backend=sys-bt" ]\n')
    host.watch("--config-dir", str(tmp_path)).wait_logged("usbbt-toolstack watches")
    domid, witness = host.create("sys-bt"), host.create("witness")
    host.world.wait_value(f"{host.backend(witness, domid, 0)}/state", "1")  # so it has looked at both
    back = connect(host, domid)
    host.world.change_store(write=[(f"{paths(domid)[1]}/detach-ports", "1", None)])
    host.world.wait_value(f"{back}/port/1", "")


def test_a_port_that_was_filled_meanwhile_keeps_what_it_has(host: Host, driver: int, tmp_path: Path) -> None:
    back, front = paths(driver)
    host.world.change_store(write=[(f"{back}/detached/1", "1-1", None)])
    host.watch("--config-dir", str(tmp_path))
    host.world.wait_value(f"{back}/detached/1", None)
    assert host.world.read(f"{back}/port/1") == "1-2"
    host.world.change_store(write=[(f"{front}/detach-ports", "1", None)])
    host.world.wait_value(f"{back}/port/1", "")


def test_without_the_service_it_goes_on_after_a_warning(host: Host, driver: int) -> None:
    usbbtd = host.serve(driver)
    host.world.wait_value(f"{paths(driver)[1]}/state", "5", timeout_s=30)
    usbbtd.wait_logged("usb ports stay occupied")
