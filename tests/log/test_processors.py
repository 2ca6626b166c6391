"""What becomes of an event: its form, what is hidden of it, what is dropped, and where that is told."""

import asyncio
import contextlib
import re
import socket
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
import structlog

from usbbtd.config import LogSettings
from usbbtd.log import journal, processors, setup
from usbbtd.log.events import by_phrase
from usbbtd.log.flood import BURST

ADDRESS = bytes.fromhex("010000eeffc0")


def test_fields_of_the_journal() -> None:
    sent: list[tuple[str, dict[str, str]]] = []
    ids = {"channel opened": "0123456789abcdef0123456789abcdef"}
    sender = processors.JournalSender(lambda message, **fields: sent.append((message, fields)), "usbbtd", ids)
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
        sender(None, "warning", processors.readable_facts(None, "warning", event))
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
    recent = processors.RecentEvents(2)
    setup.configure(LogSettings(target="stderr"), recent=recent)
    for number in range(3):
        structlog.get_logger().info("channel opened", addr=ADDRESS, psm=number)
    structlog.get_logger().debug("below the level")
    first, second = recent.events()
    assert float(first.pop("time")) <= float(second.pop("time"))
    assert first == {"event": "channel opened", "level": "info", "addr": "C0:FF:EE:00:00:01", "psm": "0x0001"}
    assert second["psm"] == "0x0002"


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


def test_events_that_the_journal_does_not_take_are_counted_and_told() -> None:
    sent: list[str] = []
    full = True

    def send(message: str, **_: str) -> None:
        if full:
            raise OSError(28, "No space left on device")
        sent.append(message)

    sender = processors.JournalSender(send, "usbbtd", {})
    with structlog.testing.capture_logs() as told:
        for number in range(4):
            full = number < 2  # the closure reads it
            with pytest.raises(structlog.DropEvent):
                sender(None, "info", {"event": "channel opened", "level": "info", "domid": number})
    assert sent == ["channel opened domid=2", "channel opened domid=3"]
    assert told == [{"event": "events lost", "log_level": "warning", "count": 2}]


def test_a_journal_that_nobody_reads_is_not_waited_for(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(journal, "SOCKET", str(tmp_path / "socket"))
    sender = processors.JournalSender(journal.send, "usbbtd", {})

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
