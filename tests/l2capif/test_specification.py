"""docs/l2capif.md says what the code does: its worked example, its numbers, its limits."""

import errno
import re
import subprocess
from pathlib import Path

import pytest

from tests import ROOT
from usbbtd.abi import layout
from usbbtd.abi.layout import constants
from usbbtd.bluetooth import MINIMUM_MTU
from usbbtd.config import GuestSettings
from usbbtd.l2capif import messages, nodes, wire
from usbbtd.l2capif.backend import Backend
from usbbtd.l2capif.checks import (
    DEFAULT_INTERVAL_MS,
    DEFAULT_PAIR_TIMEOUT_MS,
    DEFAULT_TIMEOUT_MS,
    LONGEST_PAIR_TIMEOUT_MS,
    LONGEST_TIMEOUT_MS,
)
from usbbtd.l2capif.frontend import Frontend
from usbbtd.l2capif.limits import FrontendLimits
from usbbtd.nodes import BACKEND, BACKEND_ID, FRONTEND, FRONTEND_ID, ONLINE, STATE, home
from usbbtd.xen import device as xenbus_device

TEXT = (ROOT / "docs" / "l2capif.md").read_text()
HEADER = (Path(layout.__file__).parent / "include" / "l2capif.h").read_text()
COMMANDS = re.findall(r"^#define L2CAPIF_CMD_(\w+) ", HEADER, re.MULTILINE)
ADDRESS = bytes.fromhex("010000eeffc0")


def section(title: str) -> str:
    return TEXT.split(f"\n## {title}\n")[1].split("\n## ")[0]


def example(name: str) -> bytes:
    """The octets of a hex dump in the worked example."""
    dump = re.search(rf"^    {name}\n((?:    +\d+:(?: [0-9a-f]{{2}})+\n)+)", section("Worked example"), re.MULTILINE)
    assert dump is not None
    return bytes.fromhex("".join(line.split(":")[1] for line in dump[1].splitlines()))


def test_worked_example() -> None:
    frontend = Frontend()
    number = frontend.connect(ADDRESS, 2, 0x81, mtu=512, ref=523, evtchn=17, timeout_s=5)
    assert frontend.take_requests(1) == [example("CONNECT request")]

    backend = Backend(FrontendLimits())
    backend.receive_requests([example("CONNECT request")])
    backend.complete_channel(number, ADDRESS, 2, 0x81, 1000, 512)
    assert backend.take_responses() == [example("CONNECT response")]

    frontend.receive_responses([example("CONNECT response")])
    assert frontend.take_results() == [wire.ChannelResponse(1, 1, 1, 0, ADDRESS, 2, 0, 0x81, 1000, 512)]


def test_worked_example_refused() -> None:
    backend = Backend(FrontendLimits())
    backend.receive_requests([example("CONNECT request")])
    backend.fail(1, errno.ECONNREFUSED, result=4)
    assert backend.take_responses() == [example("CONNECT response, refused")]


def test_worked_example_not_secure_enough() -> None:
    backend = Backend(FrontendLimits())
    backend.receive_requests([example("CONNECT request")])
    backend.fail(1, errno.EPERM, why=constants.L2CAPIF_WHY_NO_AGENT, needed=constants.L2CAPIF_SECURITY_MITM)
    assert backend.take_responses() == [example("CONNECT response, not secure enough")]


def test_worked_prompt_and_answer() -> None:
    prompt = messages.PromptMessage(1, constants.L2CAPIF_PROMPT_CONFIRM, ADDRESS, 2, 42_193, 30_000)
    assert messages.pack_prompt(prompt) == example("prompt")
    assert messages.unpack_answer(example("answer")) == messages.AnswerMessage(1, True)


def test_worked_message() -> None:
    assert example("message") == len(b"hello").to_bytes(4, "little") + b"hello"


def rows_of(title: str) -> dict[str, str]:
    """The second cell of each row that begins with a node, in a part of the section Xenstore, by that node."""
    part = section("Xenstore").split(f"\n### {title}\n")[1].split("\n### ")[0]
    return dict(re.findall(r"^\| `([^`]+)` \| ([^|]+) \|", part, re.MULTILINE))


def test_directories() -> None:
    rows = list(rows_of("Made by the toolstack").items())[:2]
    frontend, backend = (path.replace("<G>", "7").replace("<D>", "3").replace("<n>", "0") for path, _ in rows)
    assert frontend == f"{home(7)}/{nodes.VL2CAP.frontend_path(0)}"
    assert backend == f"{home(3)}/{nodes.VL2CAP.backend_path(7, 0)}"


def test_nodes() -> None:
    titles = ("Made by the toolstack", "Written by the backend", "Written by the frontend")
    written = [name for title in titles for name in rows_of(title) if not name.startswith("/")]
    own = [value for name, value in vars(nodes).items() if name.isupper() and isinstance(value, str)]
    assert {*written} == {BACKEND, BACKEND_ID, FRONTEND, FRONTEND_ID, ONLINE, STATE, *own}


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_command_numbers(name: str) -> None:
    text = section("Commands").split(f"\n### {name}\n")[1].split("\n### ")[0]
    assert f"**cmd** {getattr(constants, f'L2CAPIF_CMD_{name}')}," in text


def test_error_numbers() -> None:
    rows = re.findall(r"^\| (E[A-Z]+) \| -(\d+) \|", section("Error numbers"), re.MULTILINE)
    assert {name: int(number) for name, number in rows} == {name: getattr(errno, name) for name, _ in rows}
    assert {f"-{name}" for name, _ in rows} == set(re.findall(r"-E[A-Z]{3,}", TEXT))


def test_limits() -> None:
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in section("Limits").split("### Times")[0].splitlines()
        if line.startswith("|")
    ]
    numbers = [int(row[1].split()[0]) for row in rows[2:]]
    assert numbers == [*FrontendLimits(), FrontendLimits().max_mtu]


def test_defaults() -> None:
    assert f"0: {DEFAULT_TIMEOUT_MS // 1000} s. More than {LONGEST_TIMEOUT_MS // 1000} s" in TEXT
    assert f"20 to 10240; 0: {DEFAULT_INTERVAL_MS}." in TEXT
    assert f"At most {FrontendLimits().requests} requests, RELEASE not counted" in TEXT


def test_what_a_device_uses_at_most() -> None:
    limits = FrontendLimits()
    rings = limits.channels + limits.scans + limits.agents
    pages = 1 + (1 << limits.max_page_order)
    text = " ".join(section("Limits").split())
    assert f"at most {1 + rings * pages} grants, one for the command ring and {pages} for each of" in text
    assert f"{limits.channels} channels, {limits.scans} scans and an agent, and {1 + rings} event channels" in text


def test_times_of_the_service() -> None:
    text = section("Limits")
    first_s, last_s = xenbus_device._FIRST_PAUSE_S, xenbus_device._LAST_PAUSE_S
    assert f"| {first_s:g} s, doubled each time up to {last_s:g} s;" in text
    assert f"| `timeout_ms`, {DEFAULT_TIMEOUT_MS // 1000} s, at most {LONGEST_TIMEOUT_MS // 1000} s |" in text
    default_s, longest_s = DEFAULT_PAIR_TIMEOUT_MS // 1000, LONGEST_PAIR_TIMEOUT_MS // 1000
    assert f"| PAIR | `timeout_ms`, {default_s} s, at most {longest_s} s |" in text
    often = GuestSettings().connects_per_minute
    assert f"in the last minute: {often} times" in TEXT


def test_least_mtus() -> None:
    bredr, le = MINIMUM_MTU
    assert f"{bredr} (BR/EDR) or {le} (LE) ≤ `rx_mtu`" in section("Security")


@pytest.mark.parametrize(
    "name", re.findall(r"#define L2CAPIF_((?:INFO|CONNECT|SCAN|ADVERTISE|PAIR)_\w+) +\(1u", HEADER)
)
def test_flags_are_described(name: str) -> None:
    assert getattr(constants, f"L2CAPIF_{name}")
    assert f"L2CAPIF_{name}" in section("Commands")


def test_prompts_and_reasons_are_described() -> None:
    for prefix, title in (("PROMPT", "Commands"), ("WHY", "Levels of security")):
        numbers = re.findall(rf"^#define L2CAPIF_{prefix}_(\w+) +(\d+)", HEADER, re.MULTILINE)
        rows = re.findall(r"^ *\| (\d+) ([A-Z_]+) \|", section(title), re.MULTILINE)
        assert {name: number for number, name in rows} == dict(numbers)


def test_features_and_what_they_stand_for() -> None:
    features = [name for name in rows_of("Written by the backend") if name.startswith("feature-")]
    assert len(features) == 6
    text = section("Commands") + section("Levels of security")
    bits = {name for name in vars(constants) if name.startswith("L2CAPIF_KNOWS_")}
    assert set(re.findall(r"L2CAPIF_KNOWS_[A-Z_]+", text)) == bits
    asked_for = set(re.findall(r"[Oo]nly where `(feature-[a-z-]+)`", text))
    assert asked_for <= set(features)


@pytest.mark.parametrize("compiler", [["gcc", "-x", "c", "-std=c11"], ["g++", "-x", "c++", "-std=c++11"]])
def test_the_header_compiles(tmp_path: Path, compiler: list[str]) -> None:
    preamble = section("Terms").split("Outside a kernel that is:\n\n")[1]
    source = tmp_path / "source"
    source.write_text(preamble.replace("\n    ", "\n").removeprefix("    ") + "\nint main(void) { return 0; }\n")
    include = Path(layout.__file__).parent / "include"
    flags = ["-Wall", "-Wextra", "-Wconversion", "-Werror", f"-I{include}", "-fsyntax-only"]
    subprocess.run([*compiler, *flags, str(source)], check=True)
