"""The prompt in a guest, on a terminal and without one: what is printed is typed, and nothing stays behind."""

import os
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests import ROOT
from tests.demo import plan
from usbbtd.control.btsnoop import FILE_HEADER

TIME_LIMIT_S = 120
PLAY = [sys.executable, "-m", "tests.play", "--output"]
ON_A_TERMINAL = [
    sys.executable,
    "-c",
    "import os, pty, sys; sys.exit(os.waitstatus_to_exitcode(pty.spawn(sys.argv[1:])))",
]
PROMPT = r"guest-2\$ "
STILL_HERE = r"\nstill here\$ "
WORLD = re.compile(r"world=(/\S+)")

#: What comes of each command of the greeting, and what is typed then: that ends it, or waits for those before.
ANSWERS = [
    ("controller up", ""),
    (r"usbbt-guest: \d devices", ""),
    (r"\[1\] \d+", ""),
    (r"\r\nhello\r\n", ""),
    ("listening on PSM 0x1005", ""),
    (r"\r\nwelcome\r\n", "wait\n"),
    (r"Does the device show \d{3} \d{3}\?", "y\n"),
    (r"\r\nopen\r\n", ""),
    (rf"paired with {plan.SENSOR.le_address}: encrypted", ""),
    (r"notified of .*\r\n", ""),
    (rf"{plan.LOCK.address} +BR/EDR +secure", ""),
    (r"\[1\] \d+", ""),
    (rf"{plan.ECHO.address} +BR/EDR +0x1001", "q"),
]


class Session:
    """A process that is typed to and whose output is read. Reading fails when it has ended, or after TIME_LIMIT_S."""

    def __init__(self, *command: str) -> None:
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            env=os.environ | {"TERM": "dumb", "COLUMNS": "200"}, bufsize=0,
        )  # fmt: skip
        self.printed = ""

    def type(self, text: str) -> None:
        assert self.process.stdin
        self.process.stdin.write(text.encode())

    def expect(self, pattern: str) -> re.Match[str]:
        """The first match in what was not yet matched."""
        end = time.monotonic() + TIME_LIMIT_S
        while (match := re.search(pattern, self.printed)) is None:
            more = self._read(end)
            assert more, f"never printed {pattern!r}:\n{self.printed}"
            self.printed += more
        self.printed = self.printed[match.end() :]
        return match

    def end(self) -> int:
        """Its exit status."""
        end = time.monotonic() + TIME_LIMIT_S
        while more := self._read(end):
            self.printed += more
        return self.process.wait(TIME_LIMIT_S)

    def _read(self, end: float) -> str:
        assert self.process.stdout
        if not select.select([self.process.stdout], [], [], max(0, end - time.monotonic()))[0]:
            raise TimeoutError(self.printed)
        return self.process.stdout.read(65536).decode(errors="replace")


@contextmanager
def play(*command: str | Path) -> Iterator[Session]:
    with (session := Session(*map(str, command))).process:
        try:
            yield session
        finally:
            session.process.terminate()  # which ends it in order


def wait_gone(world: str) -> None:
    """Until no process is of this world, whose directory is gone too."""
    end = time.monotonic() + TIME_LIMIT_S
    while (left := processes_of(world)) or Path(world).exists():
        assert time.monotonic() < end, left
        time.sleep(0.05)  # nobody tells of processes that are not ours


def processes_of(world: str) -> list[str]:
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            known = (process / "cmdline").read_bytes() + (process / "environ").read_bytes()
        except OSError:  # it has ended
            continue
        if world.encode() in known:
            found.append(known.decode(errors="replace"))
    return found


def test_each_command_of_the_greeting_does_what_it_says(tmp_path: Path) -> None:
    with play(*ON_A_TERMINAL, *PLAY, tmp_path) as session:
        greeting = session.expect(r"(?s)To try:\s+(.*?)\r\n\r\n.*guest-2\$ ")[1]
        session.type("echo world=$XENSIM_DIR\n")
        world = session.expect(WORLD.pattern)[1]
        for command, (answer, keys) in zip(greeting.split("\r\n"), ANSWERS, strict=True):
            session.type(command.strip() + "\n")
            session.expect(answer)
            session.type(keys)
        assert len((tmp_path / "play.btsnoop").read_bytes()) > len(FILE_HEADER)
        assert processes_of(world)
        session.type("exit\n")
        assert session.end() == 0
    assert "✓ usbbtd stops in order" in session.printed
    wait_gone(world)


def test_the_world_outlives_an_interrupt(tmp_path: Path) -> None:
    with play(*ON_A_TERMINAL, *PLAY, tmp_path) as session:
        session.expect(PROMPT)
        session.type("sleep 1000 & echo world=$XENSIM_DIR\n")
        world = session.expect(WORLD.pattern)[1]
        session.expect(PROMPT)
        session.type("\x03\n")  # bash may notice an interrupt with the next key only
        session.expect(PROMPT)
        session.type("PS1='still here$ '\n")
        session.expect(STILL_HERE)
        session.type("usbbt-guest scan --seconds 1000\n")
        session.expect(plan.ECHO.le_address)
        session.type("\x03")
        session.expect(STILL_HERE)
        session.type("usbbtctl status\n")
        session.expect("adapter +up")
        session.expect(STILL_HERE)
        session.type("\x04")
        assert session.end() == 0
    assert "✓ usbbtd stops in order" in session.printed
    wait_gone(world)


def test_commands_from_a_pipe(tmp_path: Path) -> None:
    commands = """\
echo world=$XENSIM_DIR
usbbt-guest info
usbbtctl guests
usbbtctl doctor
usbbtctl policy check
usbbtctl policy explain guest-2 connect C0:FF:EE:00:00:11 0x1001
usbbtctl policy check --config /not/there
echo welcome | usbbt-guest listen --security none 0x1005 --linger 30 2>&1 &
until usbbtctl guests | grep -q 0x1005; do sleep 0.1; done
peer-connect 0x1007 hello
peer-connect 0x1005 hello
wait
python -c "from usbbtd.guest import open_adapter; print(open_adapter.__module__)"
peer-connect 0x1002 hello
false
"""
    done = subprocess.run(
        [*PLAY, tmp_path], input=commands, capture_output=True, text=True, timeout=TIME_LIMIT_S, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr  # the world was well to the end
    for line in (
        r"controller +up",
        "guest-2 +2 +0 .*",
        r"ok +adapter: C0:FF:.*",
        r"ok +configuration: /.*usbbtd\.toml",
        r"1 rule, 1 of them to allow something; .*",
        r"allowed by .*guests\.toml:1: .*",
        "hello",
        "welcome",
        r"usbbtd\.guest.*",
    ):
        assert re.search(rf"^.*{line}$", done.stdout, re.MULTILINE), (line, done.stdout)
    assert "play: this Xen is simulated" in done.stderr
    assert "/not/there" in done.stderr  # what is typed wins
    assert "peer-connect: the adapter refused: PSM not supported\n" in done.stderr  # nobody listens there
    assert "peer-connect: PSM 0x1002 is not legal: it must be odd" in done.stderr
    world = WORLD.search(done.stdout)
    assert world
    wait_gone(world[1])


def test_the_documented_programs_do_what_they_say(tmp_path: Path) -> None:
    """Those that end by themselves, or when a peer has come; the README's, too."""
    programs = [
        (code, "b'one SDU'\n")
        for code in re.findall(r"```python\n(import.*?)```", (ROOT / "README.md").read_text(), re.S)
    ]
    page = (ROOT / "docs/guest-api.md").read_text()
    programs += re.findall(r"^```python\n((?:(?!while True|```).)*?)^```\n+```\n(.*?)^```$", page, re.M | re.S)
    assert len(programs) == 1 + 8
    commands = []
    for number, (code, _) in enumerate(programs):
        (tmp_path / f"{number}.py").write_text(code)
        commands.append(f"echo 'program {number}'; python {tmp_path}/{number}.py")
        if "accept()" in code:
            commands[-1] += (
                " &\nuntil usbbtctl guests | grep -q LE:0x0081; do sleep 0.1; done; peer-connect --le 0x81 x; wait"
            )
    done = subprocess.run(
        [*PLAY, tmp_path], input="\n".join(commands), capture_output=True, text=True, timeout=TIME_LIMIT_S, check=False
    )
    said = re.split(r"^program \d+\n", done.stdout, flags=re.M)[1:]
    for (_, printed), lines in zip(programs, said, strict=True):
        missing = set(printed.splitlines()) - set(lines.splitlines())  # devices may be heard in any order
        assert not missing, done.stdout + done.stderr


def test_what_is_ended_by_a_signal_leaves_nothing(tmp_path: Path) -> None:
    with play(*PLAY, tmp_path) as session:
        session.expect("To try")
        session.type("echo world=$XENSIM_DIR\nusbbt-guest listen --security none --echo 0x1005\n")
        world = session.expect(WORLD.pattern)[1]
        session.expect("listening")
        session.process.send_signal(signal.SIGTERM)
        assert session.end() == 128 + signal.SIGINT
    wait_gone(world)


def test_a_terminal_that_goes_away_takes_all_along(tmp_path: Path) -> None:
    with play(*ON_A_TERMINAL, *PLAY, tmp_path) as session:
        session.expect(PROMPT)
        session.type("sleep 1000 & echo world=$XENSIM_DIR\n")
        world = session.expect(WORLD.pattern)[1]
        session.process.kill()
    wait_gone(world)


def test_an_interrupt_at_the_start_is_no_traceback(tmp_path: Path) -> None:
    """A terminal sends it to all processes of the foreground, whatever they are importing."""
    pipe = subprocess.PIPE
    with subprocess.Popen([*PLAY, tmp_path], stdin=pipe, stdout=pipe, stderr=pipe, start_new_session=True) as process:
        assert process.stdout
        assert b"usbbtd" in process.stdout.readline() + process.stdout.readline()
        os.killpg(process.pid, signal.SIGINT)
        assert process.communicate(timeout=TIME_LIMIT_S)[1] == b""
    assert process.returncode == 128 + signal.SIGINT


def test_a_reader_that_leaves_in_the_middle_and_a_locale_without_ticks(tmp_path: Path) -> None:
    environment = os.environ | {"PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"}
    pipe = subprocess.PIPE
    with subprocess.Popen([*PLAY, tmp_path], stdin=pipe, stdout=pipe, stderr=pipe, env=environment) as process:
        assert process.stdout
        while not (line := process.stdout.readline()).startswith(b"  + a simulated Xen"):
            assert line, process.stderr and process.stderr.read()
        process.stdout.close()
        assert process.stderr
        assert process.stderr.read() == b""
        assert process.wait(TIME_LIMIT_S) == 128 + signal.SIGPIPE


def test_a_service_that_ends_is_told_of(tmp_path: Path) -> None:
    with play(*PLAY, tmp_path) as session:
        session.expect("To try")
        session.type("usbbtctl status --json\n")
        pid = int(session.expect(r'"pid": (\d+)')[1])
        os.kill(pid, signal.SIGKILL)
        session.expect("usbbtd ended with status -9")
        session.type("exit\n")
        assert session.end() == 1
