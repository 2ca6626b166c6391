"""Where a key is in a file, for every form that TOML has."""

import contextlib
import os
import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from usbbtd.tomlfile import (
    MAX_BYTES,
    MAX_DIRECTORY_BYTES,
    ConfigError,
    key_lines,
    line_of,
    parse_document,
    read_directory,
    read_document,
)

TEXT = (
    "# c = 0\ntop = 1\n[a.b]\nc = 1\n'quoted.key' = 2\nlong = [\n  '''\nafter = 1''',\n]\nafter = 3\n"
    "inline = { deep = 1 }\n[a.d]\nc = 4\n[[e]]\n[[e]]\nf.g = 1\n[[e.h]]\ni = [\n{ j = 1 }]\n[e.k]"
)


@pytest.mark.parametrize("ends", ["\n", "\r\n"])
@pytest.mark.parametrize(
    ("key", "line"),
    [
        (("top",), 2),
        (("a", "b", "c"), 4),
        (("a", "b", "quoted.key"), 5),
        (("a", "b", "long"), 6),
        (("a", "b", "after"), 10),
        (("a", "b", "inline", "deep"), 11),
        (("a", "d"), 12),
        (("a", "d", "c"), 13),
        (("e", 0), 14),
        (("e", 1), 15),
        (("e", 1, "f"), 16),
        (("e", 1, "f", "g"), 16),
        (("e", 1, "h", 0), 17),
        (("e", 1, "h", 0, "i", 0, "j"), 18),
        (("e", 1, "k"), 20),
        (("e", 0, "missing"), 14),
        (("missing",), 1),
    ],
)
def test_the_line_of_a_key(ends: str, key: tuple[str | int, ...], line: int) -> None:
    text = TEXT.replace("\n", ends)
    tomllib.loads(text)
    assert line_of(key_lines(text), key) == line


@given(st.text())
def test_any_text_is_toml_with_a_line_for_every_key_or_a_mistake(text: str) -> None:
    with contextlib.suppress(ConfigError):
        document = parse_document(text, "x.toml")
        lines = key_lines(text)
        assert {key[0] for key in lines} == set(document.content)


_STRINGS = st.text("ab\"'\\\\#[]{}=\n", max_size=6)


@st.composite
def _values(draw: st.DrawFn) -> str:
    """In any form that can go over lines, or have in it what ends a statement elsewhere."""
    form, content = draw(st.integers(0, 5)), draw(_STRINGS)
    escaped = content.replace("\\", "\\\\").replace('"', '\\"')
    match form:
        case 0:
            return f'"""{escaped}"""'
        case 1:
            return "'''" + content.replace("'", "") + "'''"
        case 2:
            return '"' + escaped.replace("\n", "\\n") + '"'
        case 3:
            return "'" + content.replace("'", "").replace("\n", "") + "'"
        case 4:
            return "[" + "\n".join(f" {draw(_values())}, # ]'\"" for _ in range(draw(st.integers(0, 2)))) + "\n]"
        case _:
            return f"{{ x = {draw(_values())} }}"


@given(st.lists(_values(), max_size=6))
def test_a_statement_ends_where_the_shortest_run_of_lines_is_toml(values: list[str]) -> None:
    text = "".join(f"k{number} = {value} # '\"[\n[t{number}]\n" for number, value in enumerate(values))
    tomllib.loads(text)
    expected: dict[Any, Any] = {}
    first = 0
    lines = text.split("\n")
    for end in range(1, len(lines) + 1):
        with contextlib.suppress(ValueError):
            expected |= dict.fromkeys(tomllib.loads("\n".join(lines[first:end])), first + 1)
            first = end
    found = {str(key[-1]): line for key, line in key_lines(text).items() if str(key[-1])[0] in "kt" and len(key) < 3}
    assert found == expected


@pytest.mark.parametrize("text", ["a = " + "[" * 5000, "a = " + "9" * 5000, "a = 1\na = 2"])
def test_what_tomllib_takes_badly_is_a_mistake(text: str) -> None:
    with pytest.raises(ConfigError, match=r"^x\.toml:[12]: "):
        parse_document(text, "x.toml")


def test_of_a_directory_only_what_an_administrator_means_counts(tmp_path: Path) -> None:
    assert read_directory(tmp_path / "none") == []
    names = [".hidden.toml", ".toml", "a.toml~", "#a.toml#", "a.toml.dpkg-old", "a.toml.ucf-dist", "a.toml.bak"]
    for name in ("b.toml", "a.toml", *names):
        (tmp_path / name).write_text("broken" if name in names else "x = 1")
    (tmp_path / ".#a.toml").symlink_to("somebody@work.4711:1700000000")  # the lock of an editor
    assert [Path(document.name).name for document in read_directory(tmp_path)] == ["a.toml", "b.toml"]


def test_what_cannot_be_read_is_named_and_waited_for_by_nobody(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo.toml")
    (tmp_path / "directory.toml").mkdir()
    (tmp_path / "dangling.toml").symlink_to("nowhere")
    (tmp_path / "circle.toml").symlink_to("circle.toml")
    (tmp_path / "endless.toml").symlink_to("/dev/zero")
    (tmp_path / "long.toml").write_text("#" * (MAX_BYTES + 1))
    (tmp_path / "latin.toml").write_bytes(b"# gr\xfc\xdfe")
    with pytest.raises(ConfigError) as error:
        read_directory(tmp_path)
    assert str(error.value).splitlines() == [
        f"{tmp_path}/circle.toml: Too many levels of symbolic links",
        f"{tmp_path}/dangling.toml: No such file or directory",
        f"{tmp_path}/directory.toml: not a regular file",
        f"{tmp_path}/endless.toml: not a regular file",
        f"{tmp_path}/fifo.toml: not a regular file",
        f"{tmp_path}/latin.toml: not UTF-8 text",
        f"{tmp_path}/long.toml: longer than {MAX_BYTES} bytes",
    ]
    (tmp_path / "two").mkdir()
    for name in "abc":
        (tmp_path / "two" / f"{name}.toml").write_text("#" * (MAX_DIRECTORY_BYTES // 2))
    (tmp_path / "two" / "0.toml").write_text("x")
    with pytest.raises(ConfigError) as error:
        read_directory(tmp_path / "two")
    assert error.value.mistakes[1:] == (
        f"{tmp_path}/two/c.toml: longer than {MAX_DIRECTORY_BYTES} bytes with the files before it",
    )
    with pytest.raises(ConfigError, match=r"dangling\.toml: No such file or directory$"):
        read_directory(tmp_path / "dangling.toml")
    assert read_document(Path(os.devnull)).content == {}


def test_a_mistake_is_one_line_whatever_the_file_is_called_or_says(tmp_path: Path) -> None:
    (tmp_path / "a\n\x1b[31m.toml").write_bytes(b"\xff")
    (tmp_path / os.fsdecode(b"b\xe9\xe2\x80\xa8.toml")).write_text("x")
    with pytest.raises(ConfigError) as error:
        read_directory(tmp_path)
    first, second = str(error.value).splitlines()
    assert first == f"{tmp_path}/a\\n\\x1b[31m.toml: not UTF-8 text"
    assert second.startswith(rf"{tmp_path}/b\udce9\u2028.toml:1: ")
    assert error.value.mistakes == (first, second)


def test_what_proceed_raises_ends_the_reading_at_the_next_file(tmp_path: Path) -> None:
    for name in ("a.toml", "b.toml"):
        (tmp_path / name).write_text("broken")
    calls = iter([None])
    with pytest.raises(StopIteration):
        read_directory(tmp_path, lambda: next(calls))
