"""usbbt-guest discover."""

import json
import signal

from tests.cli.test_guest import guest as guest
from tests.cli.test_guest import run, start, stop
from tests.support.domain import Domain, NewDomain
from tests.support.echo_backend import serve

HEAD = "ADDRESS            TYPE     DBM  IS A               NAME                  SERVICES"


def test_discover(guest: Domain) -> None:
    process = start(guest, "discover")
    assert process.stdout
    head, *rows = [process.stdout.readline().rstrip("\n") for _ in range(7)]
    assert head == HEAD
    assert sorted(rows) == [
        "01:00:00:EE:FF:C0  public   -90",
        "C0:FF:EE:00:00:11  bredr    -50                     echo",
        "C0:FF:EE:00:00:13  bredr    -61  headset                                  111e",
        "C0:FF:EE:00:00:13  bredr    -61  headset            Ears?[2J              111e",
        "F0:F1:F2:00:00:11  random   -50                     echo",
        "F0:F1:F2:00:00:14  random   -50                     sensor",
    ]
    assert stop(process, signal.SIGINT) == 130


def test_discover_some(guest: Domain) -> None:
    for arguments, found in (
        (("--name", "ECHO"), ["C0:FF:EE:00:00:11", "F0:F1:F2:00:00:11"]),
        (("--service", "0x111E"), ["C0:FF:EE:00:00:13"]),
        (("--manufacturer", "76"), []),
        (("--transport", "le", "--service", "111e"), []),
    ):
        output, errors = run(guest, "discover", "--seconds", "0.5", *arguments)
        assert sorted({line.split()[0] for line in output.splitlines()[1:]}) == found
        assert errors == f"usbbt-guest: {len(found)} device{'' if len(found) == 1 else 's'}\n"
    _, errors = run(guest, "discover", "--service", "battery", status=2)
    assert errors.startswith("usbbt-guest: 'battery' is no UUID")


def test_discover_for_programs(guest: Domain) -> None:
    output, _ = run(guest, "discover", "--json", "--seconds", "0.5", "--transport", "bredr")
    rows = [json.loads(line) for line in output.splitlines()]
    assert rows[-1] == {
        "address": "C0:FF:EE:00:00:13",
        "address_type": "bredr",
        "rssi": -61,
        "name": "Ears\x1b[2J",
        "connectable": True,
        "class_of_device": 0x240404,
        "appearance": None,
        "services": ["111e"],
        "manufacturer": None,
        "kind": "headset",
    }


def test_discover_of_an_old_service(new_domain: NewDomain) -> None:
    driver, guest = new_domain(), new_domain()
    guest.world.attach_vl2cap(guest.domid, driver.domid)
    driver.start(serve, guest.domid, True, False, False)
    said = "discover: usbbtd in the driver domain is too old for that: update it, or scan, for LE alone"
    assert run(guest, "discover", status=1) == ("", f"usbbt-guest: {said}\n")
