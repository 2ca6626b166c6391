"""The C client of docs/serial.md in this process. It does no input or output: tests are its line and its clock."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

from cffi import FFI

from tests import ROOT

SOURCES = ROOT / "clients/serial"
HEADER = SOURCES / "include/vl2cap_serial.h"
#: As it is meant to be compiled everywhere.
FLAGS = ["-std=c89", "-pedantic", "-Wall", "-Wextra", "-Wconversion", "-Wshadow", "-Werror", f"-I{HEADER.parent}"]
OPTIONS = ["-DVLS_OBJECTS=6", "-DVLS_MTU=2048", "-DVLS_CREDITS=3"]

CONSTANTS = {
    name: int(value, 0) for name, value in re.findall(r"#define (VLS_\w+)\s+\(?(-?\w+?)\)?\s", HEADER.read_text())
    if re.fullmatch(r"-?(0x[0-9A-F]+|\d+)", value)
}  # fmt: skip
EAGAIN, ENODEV = CONSTANTS["VLS_EAGAIN"], CONSTANTS["VLS_ENODEV"]
FREE, ASKED, OPEN, ENDED, RELEASING = (
    CONSTANTS[f"VLS_{name}"] for name in ("FREE", "ASKED", "OPEN", "ENDED", "RELEASING")
)
_LINE_SIZE = 512


class Library:
    """The client, compiled into ``directory``."""

    def __init__(self, directory: Path) -> None:
        path = directory / "client.so"
        command: list[str | Path] = [
            "cc",
            *FLAGS,
            *OPTIONS,
            "-O1",
            "-g",
            "-shared",
            "-fPIC",
            "-o",
            path,
            SOURCES / "src/vl2cap_serial.c",
        ]
        subprocess.run(command, check=True)
        plain = subprocess.run(
            ["cc", "-E", "-P", *OPTIONS, HEADER], check=True, capture_output=True, text=True
        ).stdout  # fmt: skip
        self.ffi = FFI()
        self.ffi.cdef(plain)
        self.lib: Any = self.ffi.dlopen(str(path))


class CClient:
    """One client. Errors of its calls are returned, as in C."""

    def __init__(self, library: Library, cookie: int = 1) -> None:
        self._ffi, self.lib = library.ffi, library.lib
        self.v: Any = self._ffi.new("struct vls *")
        self._line = self._ffi.new("unsigned char[]", _LINE_SIZE * 4)
        self.lib.vls_init(self.v, cookie)

    def input(self, octets: bytes, now: float) -> None:
        self.lib.vls_input(self.v, octets, len(octets), int(now * 1000))

    def output(self, now: float) -> bytes:
        octets = b""
        while count := self.lib.vls_output(self.v, self._line, int(now * 1000)):
            octets += bytes(self._ffi.buffer(self._line, count))
        return octets

    def wait_s(self, now: float) -> float:
        return float(self.lib.vls_wait(self.v, int(now * 1000))) / 1000

    def object(self, number: int) -> Any:
        return self.v.objects[number - 1]

    def send(self, number: int, sdu: bytes) -> int:
        return int(self.lib.vls_send(self.v, number, sdu, len(sdu)))

    def recv(self, number: int) -> bytes | int:
        buffer = self._ffi.new("unsigned char[]", 2048)
        length = self.lib.vls_recv(self.v, number, buffer, len(buffer))
        return int(length) if length < 0 else bytes(self._ffi.buffer(buffer, length))
