"""Where firmware is read from, and where not."""

import os
from pathlib import Path

import pytest

from usbbtd.dongles.firmware import MAX_SIZE, FirmwareDirectory, FirmwareMissing


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    (tmp_path / "secret").write_bytes(b"not firmware")
    made = tmp_path / "lib" / "firmware"
    (made / "rtl_bt").mkdir(parents=True)
    (made / "rtl_bt" / "fw.bin").write_bytes(b"firmware")
    return made


def refusal(directory: Path, name: str) -> str:
    with pytest.raises(FirmwareMissing) as caught:
        FirmwareDirectory(directory).read(name)
    return str(caught.value).replace(str(directory), "DIRECTORY")


def test_a_file_and_links_within_the_directory(directory: Path) -> None:
    (directory / "rtl_bt" / "link.bin").symlink_to("fw.bin")
    for name in ("rtl_bt/fw.bin", "rtl_bt/link.bin"):
        assert FirmwareDirectory(directory).read(name) == b"firmware"


def test_the_directory_may_be_a_link(directory: Path) -> None:
    """On Debian /lib is one."""
    link = directory.parent.parent / "link"
    link.symlink_to(directory)
    assert FirmwareDirectory(link).read("rtl_bt/fw.bin") == b"firmware"


OUTSIDE = ["../../secret", "/etc/passwd", "rtl_bt/../../../secret", "rtl_bt/out", "out/secret", ""]


@pytest.mark.parametrize("name", OUTSIDE)
def test_nothing_outside_of_the_directory(directory: Path, name: str) -> None:
    (directory / "rtl_bt" / "out").symlink_to("../../../secret")
    (directory / "out").symlink_to("../..")
    assert refusal(directory, name) == "not read: it is outside of DIRECTORY"


def test_what_is_no_file(directory: Path) -> None:
    os.mkfifo(directory / "pipe")
    assert refusal(directory, "rtl_bt") == "not read: it is no file"
    assert refusal(directory, "pipe") == "not read: it is no file"
    (directory / "loop").symlink_to("loop")
    assert refusal(directory, "loop").startswith("not readable: ")


def test_a_file_that_is_not_there(directory: Path) -> None:
    assert refusal(directory, "intel/ibt-11-5.sfi") == "not in DIRECTORY"
    assert refusal(directory / "none", "intel/ibt-11-5.sfi") == "not in DIRECTORY"
    (directory / "fw.bin.zst").touch()
    reason = "not in DIRECTORY, but for a compressed one, .zst, which usbbtd does not read"
    assert refusal(directory, "fw.bin") == reason


def test_sizes_have_bounds(directory: Path) -> None:
    (directory / "empty").touch()
    with open(directory / "long", "wb") as file:
        file.truncate(MAX_SIZE + 1)
    for name in ("empty", "long"):
        assert refusal(directory, name) == f"not read: it is empty, or longer than {MAX_SIZE} octets"
