"""What root does with usbbtctl, beside the very service."""

import json
import os
import signal
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.demo import plan
from tests.support import stack as stack_module
from tests.support.domain import NewDomain
from usbbtd.cli import ctl
from usbbtd.guest import AdapterError, open_adapter

PEER, MOUSE = "C0:FF:EE:00:00:21", "C0:FF:EE:00:00:22"
KEY, LONG_TERM, IRK = (bytes(range(first, first + 16)) for first in (0x10, 0x20, 0x30))
INFO = f"""\
[General]
Name=A mouse
AddressType=static

[LinkKey]
Key={KEY.hex().upper()}
Type=8
PINLength=0
"""
LE_INFO = f"""\
[General]
Name=A sensor
AddressType=static

[PeripheralLongTermKey]
Key={LONG_TERM.hex().upper()}
Authenticated=2
EncSize=16
EDiv=0
Rand=0

[IdentityResolvingKey]
Key={IRK.hex().upper()}
"""


@pytest.fixture(scope="module")
def stack(world: Any, domids: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    with stack_module.Stack(world, tmp_path_factory.mktemp("acts"), domids) as running:
        yield running


@pytest.fixture
def usbbtctl(stack: Any, capsys: pytest.CaptureFixture[str]) -> Any:
    def run(*arguments: object, status: int = 0) -> str:
        """What it prints on either."""
        capsys.readouterr()
        assert ctl.main(["--socket", str(stack.socket), *map(str, arguments)]) == status
        return "".join(capsys.readouterr())

    return run


def bluez(directory: Path, adapter: str, **peers: str) -> Path:
    for peer, text in peers.items():
        path = directory / adapter / peer.replace("_", ":")
        path.mkdir(parents=True)
        (path / "info").write_text(text)
    return directory


def test_bonds_of_bluez_are_imported_listed_and_forgotten(stack: Any, usbbtctl: Any, tmp_path: Path) -> None:
    stack.daemon.wait_logged("adapter up")
    own = json.loads(usbbtctl("adapters", "--json"))
    directory = bluez(
        tmp_path, own["address"], C0_FF_EE_00_00_21=INFO, C0_FF_EE_00_00_22=LE_INFO, C0_FF_EE_00_00_23="x"
    )
    said = usbbtctl("bonds", "import", directory, "--guest", "work", status=1)
    assert f"{PEER} (BR/EDR), secure: A mouse\n" in said
    assert f"{MOUSE} (LE random), encrypted: A sensor\n" in said
    assert f"usbbtctl: {directory}/{own['address']}/C0:FF:EE:00:00:23/info: not an ini file\n" in said
    assert "2 bonds of 2 imported" in said
    assert "The devices know" not in said  # it is the same dongle
    assert f"connected to as {own['address']}. Those that connect to the service see {own['random_address']}" in said
    bonds = [json.loads(line) for line in usbbtctl("bonds", "--json").splitlines()]
    assert [(bond["address"], bond["security"], bond["guests"]) for bond in bonds] == [
        (PEER, "secure", ["work"]), (MOUSE, "encrypted", ["work"]),
    ]  # fmt: skip
    table = usbbtctl("bonds").splitlines()
    assert table[0].split() == ["PEER", "TYPE", "SECURITY", "KEY", "GUESTS", "SINCE", "LAST", "SEEN", "NAME"]
    assert "16 octets, SC" in table[1]
    weaker = INFO.replace("Type=8", "Type=4")
    again = bluez(tmp_path / "again", own["address"], C0_FF_EE_00_00_21=weaker)
    assert "the bond is authenticated, the new keys are not" in usbbtctl("bonds", "import", again, status=1)

    (place,) = stack.state.glob("bonds-*")
    assert place.name == f"bonds-{own['random_address'].replace(':', '').lower()}"
    files = sorted(place.iterdir())
    assert [path.name for path in files] == ["c0ffee000021-bredr", "c0ffee000022-random"]
    assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {0o600}

    assert stack.daemon.terminate() == 0
    (place / "c0ffee000021-bredr").write_bytes(b"torn")
    stack.start_daemon()
    stack.daemon.wait_logged("bond file set aside")
    stack.daemon.wait_logged("adapter up")
    assert [json.loads(line)["address"] for line in usbbtctl("bonds", "--json").splitlines()] == [MOUSE]
    assert "1 bond forgotten" in usbbtctl("forget", MOUSE)
    assert f"there is no bond with {MOUSE}" in usbbtctl("forget", MOUSE, status=1)
    assert not list(place.glob("*-random"))


def test_no_key_is_in_the_log_or_the_dump(stack: Any, usbbtctl: Any, tmp_path: Path) -> None:
    directory = bluez(tmp_path, "C0:FF:EE:00:00:99", C0_FF_EE_00_00_21=INFO, C0_FF_EE_00_00_22=LE_INFO)
    said = usbbtctl("bonds", "import", directory, "--guest", "cellar")
    assert "The devices know C0:FF:EE:00:00:99, and this dongle is" in said
    shown = said + usbbtctl("dump", status=0) + usbbtctl("bonds", "--json") + "\n".join(stack.daemon.log)
    for key in (KEY, LONG_TERM, IRK):
        assert key.hex() not in shown.lower()
    assert f'"address": "{PEER}"' in shown
    assert "cellar" in shown
    anonymous = usbbtctl("dump", "--anonymous")
    assert not [secret for secret in ("cellar", PEER, "A mouse") if secret in anonymous]
    usbbtctl("forget", PEER)
    usbbtctl("forget", MOUSE)


BONDED = """
[[rule]]
guest = "any"
action = "connect"
peer = "bonded"
verdict = "allow"
"""


async def connect() -> str:
    """What becomes of a channel to the remote device."""
    async with open_adapter() as adapter:
        try:
            async with await adapter.connect(plan.ECHO.address, plan.ECHO_PSM["bredr"]) as channel:
                await channel.send(b"echo")
                return (await channel.recv()).decode()
        except AdapterError as error:
            return type(error).__name__


def test_a_bond_is_for_the_guest_that_it_was_made_for(stack: Any, new_domain: NewDomain, usbbtctl: Any) -> None:
    stack.daemon.wait_logged("adapter up")
    work, play = (stack.new_guest(new_domain, domain=name) for name in ("work", "play"))
    stack.set_policy(BONDED)
    since = len(stack.daemon.log)
    stack.daemon.signal(signal.SIGHUP)
    stack.daemon.wait_logged("policy loaded", since=since)
    assert (work.run(connect), play.run(connect)) == ("PermissionDenied", "PermissionDenied")
    refused = usbbtctl("pair", plan.ECHO.address, "--guest", "work", status=1)
    assert "it may pair at the level 'encrypted', which shows nothing of who it is" in refused
    said = usbbtctl("pair", plan.ECHO.address, "--guest", "work", "--security", "encrypted")
    assert said == "paired: encrypted, with a key of 16 octets; the bond belongs to guest work\n"
    (bond,) = map(json.loads, usbbtctl("bonds", "--json").splitlines())
    assert (bond["address"], bond["guests"], bond["security"]) == (plan.ECHO.address, ["work"], "encrypted")
    assert (work.run(connect), play.run(connect)) == ("echo", "PermissionDenied")
    usbbtctl("forget", plan.ECHO.address)
    assert work.run(connect) == "PermissionDenied"
    for guest in (work, play):
        stack.detach(guest)


def test_acts_are_records(stack: Any, usbbtctl: Any) -> None:
    stack.daemon.wait_logged("adapter up")
    since = len(stack.daemon.log)
    assert usbbtctl("log-level", "debug") == "logged from debug on, until the service's next start\n"
    stack.daemon.wait_logged("control act", "act=log-level", f"pid={os.getpid()}", "uid=0", "least=debug", since=since)
    assert usbbtctl("power", "off") == "adapter: switched off\n"
    stack.daemon.wait_logged("control act", "act=power", "on=False", since=since)
    stack.daemon.wait_logged("adapter down", "the adapter was switched off", since=since)
    assert json.loads(usbbtctl("status", "--json"))["adapter"] == "switched off"
    assert "adapter: switched off\n             -> usbbtctl power on" in usbbtctl("doctor", status=1)
    since = len(stack.daemon.log)
    assert usbbtctl("power", "on") == "adapter: switched on; a dongle that is there is opened now\n"
    stack.daemon.wait_logged("adapter up", since=since)
    since = len(stack.daemon.log)
    assert usbbtctl("reset", "--json") == "{}\n"
    stack.daemon.wait_logged("adapter down", "the adapter is being reset", since=since)
    stack.daemon.wait_logged("adapter up", since=since)
    assert usbbtctl("disconnect", "0x0eff", status=1) == "usbbtctl: no link has handle 0x0eff\n"
