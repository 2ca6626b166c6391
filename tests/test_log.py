"""What a log line looks like for people and for the journal."""

import asyncio
import logging
import os
import sys
from collections.abc import Iterator

import pytest
import structlog

from usbbtd import log
from usbbtd.config import Log

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
    log.configure(Log(target="stderr"))
    structlog.get_logger().info("channel opened", domid=3, psm=0x1001, addr=ADDRESS)
    line = capsys.readouterr().err
    assert "\x1b" not in line
    assert line.split()[1:] == ["[info", "]", "channel", "opened", "addr=C0:FF:EE:00:00:01", "domid=3", "psm=0x1001"]


def test_the_level_holds(capsys: pytest.CaptureFixture[str]) -> None:
    log.configure(Log(level="warning", target="stderr"))
    structlog.get_logger().info("not this")
    structlog.get_logger().warning("but this")
    assert "but this" in (text := capsys.readouterr().err)
    assert "not this" not in text


def test_fields_of_the_journal() -> None:
    sent: list[tuple[str, dict[str, str]]] = []
    sender = log.JournalSender(lambda message, **fields: sent.append((message, fields)))
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
        sender(None, "warning", log.readable_facts(None, "warning", event))
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
    recent = log.RecentEvents(2)
    log.configure(Log(target="stderr"), recent=recent)
    for number in range(3):
        structlog.get_logger().info("channel opened", addr=ADDRESS, psm=number)
    structlog.get_logger().debug("below the level")
    first, second = recent.events()
    assert float(first.pop("time")) <= float(second.pop("time"))
    assert first == {"event": "channel opened", "level": "info", "addr": "C0:FF:EE:00:00:01", "psm": "0x0001"}
    assert second["psm"] == "0x0002"


def journal_of(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, dict[str, str]]]:
    sent: list[tuple[str, dict[str, str]]] = []
    monkeypatch.setattr("systemd.journal.send", lambda message, **fields: sent.append((message, fields)))
    return sent


def test_auto_takes_the_journal_where_standard_error_is_connected_to_it(monkeypatch: pytest.MonkeyPatch) -> None:
    sent = journal_of(monkeypatch)
    read_end, write_end = os.pipe()
    with open(read_end), open(write_end, "w") as stderr:
        status = os.fstat(write_end)
        monkeypatch.setattr(sys, "stderr", stderr)
        monkeypatch.setenv("JOURNAL_STREAM", f"{status.st_dev}:{status.st_ino}")
        log.configure(Log())
        structlog.get_logger().info("to the journal")
        monkeypatch.setenv("JOURNAL_STREAM", "1:1")
        log.configure(Log())
        structlog.get_logger().info("to standard error")
    assert [message for message, _fields in sent] == ["to the journal"]


def test_a_traceback_is_in_the_message_of_the_journal(monkeypatch: pytest.MonkeyPatch) -> None:
    sent = journal_of(monkeypatch)
    log.configure(Log(target="journal"))
    try:
        raise KeyError("lost")
    except KeyError:
        structlog.get_logger().exception("a bug")
    [(message, fields)] = sent
    assert message.startswith("a bug\nTraceback")
    assert message.endswith("KeyError: 'lost'")
    assert fields["PRIORITY"] == "3"


async def test_exceptions_that_nobody_awaited_are_logged(capsys: pytest.CaptureFixture[str]) -> None:
    log.configure(Log(target="stderr"))
    error = RuntimeError("nobody looked")
    asyncio.get_running_loop().call_exception_handler({"message": "forgotten task", "exception": error})
    text = capsys.readouterr().err
    assert "forgotten task" in text
    assert "RuntimeError: nobody looked" in text
    assert "library=asyncio" in text
