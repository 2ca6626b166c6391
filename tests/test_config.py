"""The configuration file: defaults, limits, and errors which say where."""

import contextlib
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from tests import ROOT
from usbbtd.config import AdapterSettings, Config, ConfigError, load, parse
from usbbtd.control.protocol import SOCKET

SHIPPED = ROOT / "etc" / "usbbtd.toml"


def error_of(text: str) -> str:
    with pytest.raises(ConfigError) as caught:
        parse(text, "x.toml")
    return str(caught.value)


def test_an_empty_file_is_all_defaults() -> None:
    assert parse("", "x.toml") == Config()


def test_the_shipped_file_shows_every_key_with_its_default() -> None:
    assert load(SHIPPED) == Config()
    text = re.sub(r"^#(?=\w+ = )", "", SHIPPED.read_text(), flags=re.MULTILINE)
    config = parse(text, "x.toml")

    def left_out(section: BaseModel) -> set[str]:
        return set(type(section).model_fields) - section.model_fields_set

    assert not set().union(*map(left_out, (config, *dict(config).values())))


def test_the_socket_is_where_usbbtctl_looks_for_it() -> None:
    assert Config().control.socket == SOCKET


def test_values_are_read() -> None:
    config = parse('[guests]\nchannels = 3\n[adapter]\naddress = "C0:12:34:56:78:9a"\ncommand_timeout_s = 1', "x.toml")
    assert config.guests.channels == 3
    assert config.adapter.address == bytes.fromhex("9a78563412c0")
    assert config.adapter.command_timeout_s == 1.0


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[guests]\n\nchanels = 3", "x.toml:3: guests.chanels: no such key; is channels meant?"),
        ("# one\nzebra.stripes = 3", "x.toml:2: zebra: no such key"),
        ("[log]\n[guest]\nchannels = 1", "x.toml:2: guest: no such key; is guests meant?"),
        ("guests.channels = 0", "x.toml:1: guests.channels: should be greater than or equal to 1"),
        ('[guests]\nchannels = "3"', "x.toml:2: guests.channels: should be a valid integer"),
        ('[log]\nlevel = "loud"', "x.toml:2: log.level: should be 'debug', 'info', 'warning' or 'error'"),
        ("log = 3", "x.toml:1: log: should be a valid dictionary or instance of Log"),
        ('[adapter]\nselect = "usb 1-2"', 'x.toml:2: adapter.select: "any", "vvvv:pppp" or'),
        ('[adapter]\naddress = "C0:12"', "x.toml:2: adapter.address: 'C0:12' is not a Bluetooth address"),
        ('[adapter]\naddress = "12:34:56:78:9A:BC"', "x.toml:2: adapter.address: not a random static address"),
        ('[adapter]\naddress = "FF:FF:FF:FF:FF:FF"', "x.toml:2: adapter.address: not a random static address"),
        ('[control]\nsocket = "run/x"', "x.toml:2: control.socket: not an absolute path of at most 107 bytes"),
        (f'[control]\nsocket = "/{"x" * 107}"', "x.toml:2: control.socket: not an absolute path of at most 107 bytes"),
        ("[adapter]\naddress = 3", "x.toml:2: adapter.address: not an address such as"),
        ('[state]\ndirectory = "var"', "x.toml:2: state.directory: not an absolute path"),
        ('[policy]\ndirectory = "policy.d"', "x.toml:2: policy.directory: not an absolute path"),
        ("[guests]\nchannels = \n", "x.toml:2: Invalid value"),
        ("[guests]\nchannels = [1,\n", "x.toml:2: "),
    ],
)
def test_errors_name_file_line_and_key(text: str, message: str) -> None:
    assert error_of(text).startswith(message)


def test_every_mistake_is_told_at_once() -> None:
    text = '[guests]\nchannels = 0\n[log]\ntarget = "disk"\ncolour = true'
    assert [line.split(": ")[0] for line in error_of(text).splitlines()] == ["x.toml:2", "x.toml:4", "x.toml:5"]


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none\.toml: No such file or directory"):
        load(tmp_path / "none.toml")
    (tmp_path / "latin.toml").write_bytes(b"\xff")
    with pytest.raises(ConfigError, match=r"latin\.toml: not UTF-8 text"):
        load(tmp_path / "latin.toml")


@given(st.text())
def test_any_text_is_read_or_refused(text: str) -> None:
    with contextlib.suppress(ConfigError):
        parse(text, "x.toml")


def test_drop_ins_win_key_by_key_in_the_order_of_their_names(tmp_path: Path) -> None:
    file, drop_ins = tmp_path / "usbbtd.toml", tmp_path / "conf.d"
    file.write_text('[guests]\nchannels = 1\nscans = 2\n[log]\nlevel = "error"')
    drop_ins.mkdir()
    (drop_ins / "20-b.toml").write_text("guests.channels = 20")
    (drop_ins / "10-a.toml").write_text("[guests]\nchannels = 10\nlisteners = 10")
    (drop_ins / "30-off.toml~").write_text("guests.channels = 30")
    config = load(file)
    assert (config.guests.channels, config.guests.listeners, config.guests.scans) == (20, 10, 2)
    assert config.log.level == "error"
    file.unlink()
    assert load(file, must_exist=False).guests.channels == 20
    with pytest.raises(ConfigError, match=r"usbbtd\.toml: No such file or directory"):
        load(file)
    file.symlink_to("nowhere")  # somebody means something to be there
    with pytest.raises(ConfigError, match=r"usbbtd\.toml: No such file or directory"):
        load(file, must_exist=False)


def test_a_mistake_in_a_drop_in_is_told_where_it_is_with_those_of_other_files(tmp_path: Path) -> None:
    file, drop_ins = tmp_path / "usbbtd.toml", tmp_path / "conf.d"
    file.write_text("\n[guests]\nchannels = 0")
    drop_ins.mkdir()
    (drop_ins / "a.toml").write_text("# here\nguests.chanels = 1")
    with pytest.raises(ConfigError) as caught:
        load(file)
    assert str(caught.value).splitlines() == [
        f"{file}:3: guests.channels: should be greater than or equal to 1",
        f"{drop_ins}/a.toml:2: guests.chanels: no such key; is channels meant?",
    ]
    (drop_ins / "b.toml").write_text("= 1")
    with pytest.raises(ConfigError, match=r"b\.toml:1: "):
        load(file)


def test_selection_of_a_dongle() -> None:
    assert AdapterSettings().selects(0x0A12, 1, "")
    assert AdapterSettings(select="0a12:0001").selects(0x0A12, 1, "A")
    assert not AdapterSettings(select="0a12:0001").selects(0x0A12, 2, "A")
    assert AdapterSettings(select="0a12:0001:A").selects(0x0A12, 1, "A")
    assert not AdapterSettings(select="0a12:0001:A").selects(0x0A12, 1, "B")
    assert AdapterSettings(select="0a12:0001:A").selects(0x0A12, 1, None)
    assert not AdapterSettings(select="0a12:0001:A").selects(0x0A12, 2, None)
