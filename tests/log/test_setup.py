"""What a log line looks like for people and for the journal."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog

from tests import ROOT
from tests.sim.configuration import write_configuration
from tests.sim.world import World
from tests.support.domain import NewDomain
from tests.support.journald import Journald
from usbbtd.config import LogSettings
from usbbtd.log import setup
from usbbtd.log.events import by_phrase

ADDRESS = bytes.fromhex("010000eeffc0")


def test_a_line_for_people(capsys: pytest.CaptureFixture[str]) -> None:
    setup.configure(LogSettings(target="stderr"))
    structlog.get_logger().info("channel opened", domid=3, psm=0x1001, addr=ADDRESS)
    line = capsys.readouterr().err
    assert "\x1b" not in line
    assert line.split()[1:] == ["[info", "]", "channel", "opened", "addr=C0:FF:EE:00:00:01", "domid=3", "psm=0x1001"]


def test_the_level_holds(capsys: pytest.CaptureFixture[str]) -> None:
    setup.configure(LogSettings(level="warning", target="stderr"))
    structlog.get_logger().info("not this")
    structlog.get_logger().warning("but this")
    assert "but this" in (text := capsys.readouterr().err)
    assert "not this" not in text


def test_the_level_can_be_changed_for_loggers_that_are_there(capsys: pytest.CaptureFixture[str]) -> None:
    setup.configure(LogSettings(level="warning", target="stderr"))
    bound = structlog.get_logger().bind(domid=3)
    bound.info("not this")
    setup.set_level("debug")
    bound.debug("but this")
    setup.set_level("error")
    bound.warning("nor this")
    assert capsys.readouterr().err.count("this") == 1


def journal_of(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, dict[str, str]]]:
    sent: list[tuple[str, dict[str, str]]] = []
    monkeypatch.setattr("usbbtd.log.journal.send", lambda message, **fields: sent.append((message, fields)))
    return sent


def test_auto_takes_the_journal_where_standard_error_is_connected_to_it(monkeypatch: pytest.MonkeyPatch) -> None:
    sent = journal_of(monkeypatch)
    read_end, write_end = os.pipe()
    with open(read_end), open(write_end, "w") as stderr:
        status = os.fstat(write_end)
        monkeypatch.setattr(sys, "stderr", stderr)
        monkeypatch.setenv("JOURNAL_STREAM", f"{status.st_dev}:{status.st_ino}")
        setup.configure(LogSettings())
        structlog.get_logger().info("to the journal")
        monkeypatch.setenv("JOURNAL_STREAM", "1:1")
        setup.configure(LogSettings())
        structlog.get_logger().info("to standard error")
    assert [message for message, _fields in sent] == ["to the journal"]


def test_a_traceback_is_in_the_message_of_the_journal(monkeypatch: pytest.MonkeyPatch) -> None:
    sent = journal_of(monkeypatch)
    setup.configure(LogSettings(target="journal"))
    try:
        raise KeyError("lost")
    except KeyError:
        structlog.get_logger().exception("a bug")
    [(message, fields)] = sent
    assert message.startswith("a bug\nTraceback")
    assert message.endswith("KeyError: 'lost'")
    assert fields["PRIORITY"] == "3"


async def test_exceptions_that_nobody_awaited_are_logged(capsys: pytest.CaptureFixture[str]) -> None:
    setup.configure(LogSettings(target="stderr"))
    error = RuntimeError("nobody looked")
    asyncio.get_running_loop().call_exception_handler({"message": "forgotten task", "exception": error})
    text = capsys.readouterr().err
    assert "forgotten task" in text
    assert "RuntimeError: nobody looked" in text
    assert "library=asyncio" in text


def test_the_table_of_events_is_loaded_for_the_journal_only() -> None:
    code = (
        "import sys; from usbbtd import config; from usbbtd.log import setup; from usbbtd.service import run\n"
        "for target in ('stderr', 'journal'):\n"
        "    setup.configure(config.LogSettings(target=target)); print('usbbtd.log.events' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], timeout=60, check=True, capture_output=True, text=True)
    assert done.stdout.split() == ["False", "True"]


@pytest.fixture
def journald(tmp_path: Path) -> Iterator[Any]:
    catalog = ROOT / "systemd" / "usbbtd.catalog"
    with Journald(tmp_path, catalog) as running:
        yield running


def test_what_a_real_journal_has_of_a_guest(
    world: World, new_domain: "NewDomain", tmp_path: Path, journald: Any
) -> None:
    driver, guest = new_domain(), new_domain()
    (tmp_path / "state").mkdir(0o700)
    settings = f'log.target = "journal"\ncontrol.socket = ""\nstate.directory = "{tmp_path}/state"'
    config = write_configuration(tmp_path, settings)
    command = journald.inside(sys.executable, "-m", "usbbtd", "run", "--config", config)
    with subprocess.Popen(command, env=os.environ | world.environment(driver.domid)) as daemon:
        world.attach_vl2cap(guest.domid, driver.domid)
        world.wait_value(f"{driver.home}/backend/vl2cap/{guest.domid}/0/state", "2", timeout_s=60)
        daemon.send_signal(signal.SIGTERM)
        assert daemon.wait(60) == 0
    world.detach_vl2cap(guest.domid, driver.domid)
    entries = [json.loads(line) for line in journald.read(f"_PID={daemon.pid}", "-o", "json")]
    phrases = ["usbbtd starts", "policy loaded", "guest attached", "usbbtd stops", "usbbtd stopped"]
    assert [entry["USBBTD_EVENT"] for entry in entries] == phrases
    assert [entry["MESSAGE_ID"] for entry in entries] == [by_phrase()[phrase].message_id for phrase in phrases]
    path = f"backend/vl2cap/{guest.domid}/0"
    expected = {
        "MESSAGE": f"guest attached domid={guest.domid} devid=0 guest=guest-{guest.domid} path={path} tags=",
        "XEN_DOMID": str(guest.domid),
        "XEN_DEVID": "0",
        "XENSTORE_PATH": path,
        "SYSLOG_IDENTIFIER": "usbbtd",
        "PRIORITY": "6",
    }
    assert {name: entries[2][name] for name in expected} == expected
    text = journald.read(f"XEN_DOMID={guest.domid}", "-x")
    assert f"░░ Device 0 of guest {guest.domid} is offered to it from now on." in text
    assert "░░ Subject: guest attached" in text
