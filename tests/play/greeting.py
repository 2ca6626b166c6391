"""What is said before the prompt: who is around, and what to try."""

import shlex
from pathlib import Path

from tests.demo import plan

GUEST = plan.GUESTS[0]
_BREDR = f"{plan.ECHO.address} 0x{plan.ECHO_PSM['bredr']:04x}"
_LE = f"--le random {plan.ECHO.le_address} 0x{plan.ECHO_PSM['le']:04x}"
_LOCK = f"{plan.LOCK.address} 0x{plan.LOCK_PSM:04x}"
_LISTENS_ON = f"0x{plan.listener_psm(GUEST, 'bredr'):04x}"


def commands(output: Path) -> dict[str, str]:
    """What to try, in this order, and what it does. ``output``: the folder for a capture."""
    return {
        "usbbt-guest info": "the adapter as this guest has it",
        "usbbt-guest discover --seconds 2": "who is there, on BR/EDR and LE",
        f"usbbtctl capture --seconds 10 {shlex.quote(str(output / 'play.btsnoop'))} &": "what follows, for Wireshark",
        f"echo hello | usbbt-guest connect {_LE}": "one SDU there and back",
        f"echo welcome | usbbt-guest listen {_LISTENS_ON} --security none &": "for a remote device:",
        f"peer-connect {_LISTENS_ON} hello": "here it is",
        f"usbbt-guest pair {plan.LOCK.address}": "does it show the same? it says so here",
        f"echo open | usbbt-guest connect --security mitm {_LOCK}": "the lock takes it from nobody else",
        f"usbbt-guest pair --io none --le random {plan.SENSOR.le_address}": "there is nothing to compare",
        f"gatt {plan.SENSOR.le_address}": "reads it, and is notified",
        "usbbtctl bonds": "who has paired, in the driver domain",
        f"usbbt-guest ping --quiet --count 5000 {_BREDR} &": "traffic, to be seen with",
        "usbbtctl top": "in the driver domain; q ends it",
    }


def greeting(output: Path) -> str:
    """All of it. A command can be typed as it stands there."""
    tries = commands(output)
    width = max(map(len, tries))
    lines = "\n".join(f"    {command:<{width}}  # {text}" for command, text in tries.items())
    return f"""
  You are in guest {GUEST}. A remote device, "{plan.ECHO.name}", advertises, takes channels and echoes:

    BR/EDR  {plan.ECHO.address}           PSM 0x{plan.ECHO_PSM["bredr"]:04x}
    LE      {plan.ECHO.le_address} (random)  SPSM 0x{plan.ECHO_PSM["le"]:04x}

  A lock, {plan.LOCK.address}, has to be paired with first; a sensor, {plan.SENSOR.le_address}, serves GATT.

  To try:

{lines}

  One program at a time has the adapter. usbbtctl also has status, guests, channels, links, policy, doctor;
  python has usbbtd.guest; gatt is a program with that and Bumble's client.
  exit, or ^D, ends it all.
"""
