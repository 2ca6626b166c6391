"""What a log line looks like for people and for the journal."""

import asyncio
import contextlib
import json
import logging
import os
import re
import signal
import socket
import subprocess
import sys
from collections import Counter
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
from usbbtd.log import journal, setup
from usbbtd.log.events import by_phrase
from usbbtd.log.flood import BURST

ADDRESS = bytes.fromhex("010000eeffc0")


@pytest.fixture(autouse=True)
def _leave_no_configuration() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    structlog.reset_defaults()
    root.handlers[:] = handlers
    root.setLevel(level)


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


def test_fields_of_the_journal() -> None:
    sent: list[tuple[str, dict[str, str]]] = []
    ids = {"channel opened": "0123456789abcdef0123456789abcdef"}
    sender = setup.JournalSender(lambda message, **fields: sent.append((message, fields)), "usbbtd", ids)
    event = {"domid": 3, "devid": 0, "state": "Connected", "path": "device/vl2cap/0", "addr": ADDRESS}
    event |= {
        "psm": 0x1001,
        "cid": 0x40,
        "limit": 64,
        "key": b"\x01\x02",
        "event": "channel opened",
        "level": "warning",
    }
    with pytest.raises(structlog.DropEvent):
        sender(None, "warning", setup.readable_facts(None, "warning", event))
    message = (
        "channel opened domid=3 devid=0 state=Connected path=device/vl2cap/0 addr=C0:FF:EE:00:00:01 psm=0x1001 "
        "cid=0x0040 limit=64 key=0102"
    )
    assert sent == [
        (
            message,
            {
                "PRIORITY": "4",
                "SYSLOG_IDENTIFIER": "usbbtd",
                "USBBTD_EVENT": "channel opened",
                "MESSAGE_ID": "0123456789abcdef0123456789abcdef",
                "XEN_DOMID": "3",
                "XEN_DEVID": "0",
                "XENBUS_STATE": "Connected",
                "XENSTORE_PATH": "device/vl2cap/0",
                "BT_ADDR": "C0:FF:EE:00:00:01",
                "BT_PSM": "0x1001",
                "L2CAP_CID": "0x0040",
                "USBBTD_LIMIT": "64",
                "USBBTD_KEY": "0102",
            },
        )
    ]


def test_the_last_events_are_remembered_as_they_are_shown() -> None:
    recent = setup.RecentEvents(2)
    setup.configure(LogSettings(target="stderr"), recent=recent)
    for number in range(3):
        structlog.get_logger().info("channel opened", addr=ADDRESS, psm=number)
    structlog.get_logger().debug("below the level")
    first, second = recent.events()
    assert float(first.pop("time")) <= float(second.pop("time"))
    assert first == {"event": "channel opened", "level": "info", "addr": "C0:FF:EE:00:00:01", "psm": "0x0001"}
    assert second["psm"] == "0x0002"


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


def test_hashed_addresses(capsys: pytest.CaptureFixture[str]) -> None:
    def lines_with(key: bytes | None) -> list[str]:
        setup.configure(LogSettings(target="stderr", addresses="hashed"), address_key=key)
        logger = structlog.get_logger()
        logger.info("one", addr=ADDRESS)
        logger.info("two", addr="c0:ff:ee:00:00:01", reason="C0:FF:EE:00:00:02 and C0:FF:EE:00:00:01 said no")
        logger.info("three", peers=["C0:FF:EE:00:00:01"])
        try:
            raise KeyError("C0:FF:EE:00:00:01")
        except KeyError:
            logger.exception("four")
        return capsys.readouterr().err.splitlines()

    one, two, three, *four = lines_with(b"a key")
    [digits] = re.findall(r"addr=([0-9a-f]{12})$", one)
    assert f"addr={digits} " in two
    assert re.search(rf"reason='[0-9a-f]{{12}} and {digits} said no'", two)
    assert digits in three
    assert f"KeyError: '{digits}'" in four[-1]
    assert ":FF:EE" not in "".join([two, three, *four])
    assert digits in lines_with(b"a key")[0]  # as long as the key is the same
    assert digits not in "".join(lines_with(b"another key") + lines_with(None))


async def test_a_flood_is_cut_and_its_count_is_told_when_it_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[tuple[str, dict[str, str]]] = []
    told = asyncio.Event()

    def send(message: str, **fields: str) -> None:
        sent.append((message, fields))
        if fields["USBBTD_EVENT"] == "events suppressed":
            told.set()

    monkeypatch.setattr("usbbtd.log.journal.send", send)
    setup.configure(LogSettings(target="journal"))
    logger = structlog.get_logger().bind(domid=3)
    for _ in range(BURST + 9):
        logger.info("link up")
        logger.error("device given up")  # an error that others cause as often as they like is no exception
        logger.info("usbbtd starts")  # nobody else can cause this
    counts = Counter(fields["USBBTD_EVENT"] for _, fields in sent)
    assert BURST <= counts["link up"] < BURST + 9
    assert BURST <= counts["device given up"] < BURST + 9
    assert counts["usbbtd starts"] == BURST + 9
    while sum(fields["USBBTD_EVENT"] == "events suppressed" for _, fields in sent) < 2:
        told.clear()
        await asyncio.wait_for(told.wait(), 30)
    for message, fields in sent[-2:]:
        phrase = fields["USBBTD_SUPPRESSED"]
        dropped = BURST + 9 - counts.pop(phrase)
        assert message == f"events suppressed suppressed={phrase} count={dropped} domid=3"
    assert fields["XEN_DOMID"] == "3"
    assert fields["MESSAGE_ID"] == by_phrase()["events suppressed"].message_id


def test_what_was_suppressed_is_told_at_the_latest_when_the_process_ends() -> None:
    code = (
        "from usbbtd import config; from usbbtd.log import setup; import structlog\n"
        "setup.configure(config.LogSettings(target='stderr'))\n"
        f"for _ in range({BURST} + 500): structlog.get_logger().info('link up', domid=3)"
    )
    done = subprocess.run([sys.executable, "-c", code], timeout=60, check=True, capture_output=True, text=True)
    lines = done.stderr.splitlines()
    counts = [int(count) for line in lines for count in re.findall(r"count=(\d+)", line)]
    assert "events suppressed" in lines[-1]
    assert sum("link up   " in line for line in lines) + sum(counts) == BURST + 500


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


def test_events_that_the_journal_does_not_take_are_counted_and_told() -> None:
    sent: list[str] = []
    full = True

    def send(message: str, **_: str) -> None:
        if full:
            raise OSError(28, "No space left on device")
        sent.append(message)

    sender = setup.JournalSender(send, "usbbtd", {})
    with structlog.testing.capture_logs() as told:
        for number in range(4):
            full = number < 2  # the closure reads it
            with pytest.raises(structlog.DropEvent):
                sender(None, "info", {"event": "channel opened", "level": "info", "domid": number})
    assert sent == ["channel opened domid=2", "channel opened domid=3"]
    assert told == [{"event": "events lost", "log_level": "warning", "count": 2}]


def test_a_journal_that_nobody_reads_is_not_waited_for(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(journal, "SOCKET", str(tmp_path / "socket"))
    sender = setup.JournalSender(journal.send, "usbbtd", {})

    def log_one(number: int) -> None:
        with pytest.raises(structlog.DropEvent):
            sender(None, "info", {"event": "link up", "level": "info", "number": number, "exception": "two\nlines"})

    log_one(0)  # there is no journal yet
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as journald, structlog.testing.capture_logs() as told:
        journald.bind(journal.SOCKET)
        most = int(Path("/proc/sys/net/unix/max_dgram_qlen").read_text()) + 2
        for number in range(most):
            log_one(number)
        assert told == [{"event": "events lost", "log_level": "warning", "count": 1}]
        first = journald.recv(4096)
        while b"USBBTD_NUMBER=0\n" not in first:
            first = journald.recv(4096)
        with contextlib.suppress(BlockingIOError):
            while journald.recv(4096, socket.MSG_DONTWAIT):
                pass
        log_one(most)
        assert told[1]["event"] == "events lost"
        assert f"USBBTD_NUMBER={most}\n".encode() in journald.recv(4096)
    text = b"link up number=0\ntwo\nlines"
    assert first.startswith(b"MESSAGE\n" + len(text).to_bytes(8, "little") + text + b"\nPRIORITY=6\n")
    assert b"\nSYSLOG_IDENTIFIER=usbbtd\n" in first
