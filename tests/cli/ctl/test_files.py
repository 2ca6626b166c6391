"""Files that are replaced, and what is no regular file, which stays what it is."""

import os
import stat
import threading
from pathlib import Path

import pytest

from usbbtd.cli.ctl.client import CommandFailed
from usbbtd.cli.ctl.files import open_descriptor, replace


def test_a_file_that_is_not_there_yet_can_be_read_by_all(tmp_path: Path) -> None:
    replace(str(tmp_path / "new"), "text µ")
    assert (tmp_path / "new").read_text(encoding="utf-8") == "text µ"
    assert (tmp_path / "new").stat().st_mode & 0o777 == 0o644


@pytest.mark.parametrize("there", [True, False])
def test_a_link_stays_and_leads_to_the_new_file(tmp_path: Path, there: bool) -> None:
    target, link = tmp_path / "real" / "file", tmp_path / "link"
    target.parent.mkdir()
    if there:
        target.write_text("old")
    link.symlink_to("real/file")
    replace(str(link), "new")
    assert os.readlink(link) == "real/file"
    assert target.read_text() == "new"
    assert os.listdir(target.parent) == ["file"]


def test_a_pipe_is_written_to(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with pytest.raises(CommandFailed, match=r"pipe: nobody reads from this pipe$"):
        replace(str(pipe), "text")
    read: list[str] = []
    reading = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    os.set_blocking(reading, True)
    writing = os.open(pipe, os.O_WRONLY)  # so that the reader does not see the end before there is a writer
    text = "text" * 50000  # more than a pipe holds
    with os.fdopen(reading) as file:
        thread = threading.Thread(target=lambda: read.append(file.read()))
        thread.start()
        replace(str(pipe), text)
        os.close(writing)
        thread.join()
    assert read == [text]
    assert stat.S_ISFIFO(pipe.stat().st_mode)


def test_a_descriptor_of_ours_is_written_to() -> None:
    """As /dev/stdout is, whose target has no name."""
    reading, writing = os.pipe()
    replace(f"/dev/fd/{writing}", "text")
    os.close(writing)
    with os.fdopen(reading) as file:
        assert file.read() == "text"


def test_a_device_is_written_to(tmp_path: Path) -> None:
    """A copy of /dev/full, whose replacement would harm nobody."""
    device = tmp_path / "full"
    try:
        os.mknod(device, 0o600 | stat.S_IFCHR, os.makedev(1, 7))
        device.write_bytes(b"")
    except PermissionError:
        pytest.skip("devices are made by root, where file systems have some")
    with pytest.raises(CommandFailed, match=r"full: No space left on device$"):
        replace(str(device), "text")
    assert stat.S_ISCHR(device.stat().st_mode)


def test_what_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to("loop")
    for path, reason in (
        (tmp_path, "Is a directory"),
        (tmp_path / "none" / "file", "No such file or directory"),
        (tmp_path / "loop", "Too many levels of symbolic links"),
    ):
        with pytest.raises(CommandFailed, match=rf"^{path}: {reason}$"):
            replace(str(path), "text")
    assert os.listdir(tmp_path) == ["loop"]


def test_a_new_file_may_be_for_its_owner_alone(tmp_path: Path) -> None:
    os.close(open_descriptor(str(tmp_path / "new")))
    assert (tmp_path / "new").stat().st_mode & 0o777 == 0o600
