"""What is committed was made from the table, and systemd can read it."""

import subprocess
from pathlib import Path

from tests import ROOT
from usbbtd.log import catalog
from usbbtd.log.events import by_phrase

CATALOG = ROOT / "systemd" / "usbbtd.catalog"


def test_the_committed_files_are_up_to_date() -> None:
    assert CATALOG.read_text() == catalog.make_catalog(), "make catalog"
    assert (ROOT / "docs" / "events.md").read_text() == catalog.make_page(), "make catalog"


def test_every_event_has_its_row() -> None:
    rows = [line for line in catalog.make_page().splitlines() if line.startswith("|") and "`" in line]
    assert len(rows) == len(by_phrase())
    [row] = [row for row in rows if row.startswith("| channel open †")]
    cells = [cell.strip() for cell in row.strip("|").split("|")]
    assert cells[1] == "info"
    assert cells[2] == "`XEN_DOMID` `XEN_DEVID` `USBBTD_OBJECT` `BT_ADDR` `BT_PSM` `L2CAP_CID`"
    assert cells[-1] == f"`{by_phrase()['channel open'].message_id}`"
    [row] = [row for row in rows if row.startswith("| guest disconnected †")]
    assert "`USBBTD_REASON` (*statistics*)" in row


def journalctl(root: Path, *arguments: str) -> str:
    command = ["journalctl", f"--root={root}", *arguments]
    result = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (result.returncode, result.stderr) == (0, "")
    return result.stdout


def test_journalctl_reads_the_catalog(tmp_path: Path) -> None:
    directory = tmp_path / "usr/lib/systemd/catalog"
    directory.mkdir(parents=True)
    (tmp_path / "var/lib/systemd/catalog").mkdir(parents=True)
    (directory / CATALOG.name).write_bytes(CATALOG.read_bytes())
    journalctl(tmp_path, "--update-catalog")
    listed = dict(line.split(" ", 1) for line in journalctl(tmp_path, "--list-catalog").splitlines())
    assert sorted(listed) == sorted(event.message_id for event in by_phrase().values())
    event = by_phrase()["link down"]
    assert listed[event.message_id] == "usbbtd: link down"
    assert journalctl(tmp_path, "--dump-catalog", event.message_id).splitlines()[:7] == [
        f"-- {event.message_id}",
        "Subject: link down",
        "Defined-By: usbbtd",
        "Support: file:///usr/share/doc/usbbtd/troubleshooting.md",
        "Documentation: man:usbbtd(8)",
        "",
        "The link to @BT_ADDR@ has ended with HCI reason @USBBTD_REASON@.",
    ]
