"""The C client, with sanitizers, whose bridge says anything: well-framed nonsense in its own session above all."""

import subprocess
from pathlib import Path
from random import Random

import pytest

from tests import ROOT
from tests.serial.c_client import FLAGS, SOURCES
from usbbtd.serial import wire
from usbbtd.serial.framing import encode
from usbbtd.serial.wire import FrameKind, SerialCommand, SerialFrame

SANITIZE = ["-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
LIVES = 1500
_COOKIE = 2  # of its first session


def say(random: Random, seq: int) -> bytes:
    """Returns a frame, of which much is as it may be."""
    kind = random.choice([*FrameKind, *[FrameKind.RESPONSE, FrameKind.LAST, FrameKind.MORE] * 3, 0x2A])
    number = random.choice((1, 1, 2, 3, 4, 5, 0, 255))
    size = random.choice((0, 1, 2, 4, 5, 20, 24, 29, 40, 41, 239, 240))
    payload = random.randbytes(size)
    if kind == FrameKind.RESPONSE:
        facts = wire.SerialChannelFacts(
            bytes(6), 0, 0, 1, random.choice((48, 65535)), random.choice((48, 1024)), credits=255
        )
        body = random.choice((payload, wire.pack_channel(facts), b""))[:230]
        payload = wire.pack_response(random.choice(list(SerialCommand)), random.choice((0, 0, -111, 5)), body)
    elif kind == FrameKind.OPENED:
        payload = wire.pack_open(random.choice((_COOKIE, _COOKIE + 1)), 1)
    session = random.choice((1, 1, 1, 1, 1, 1, 1, 2, 0))
    return encode(wire.pack_frame(SerialFrame(kind, session, seq, random.choice((seq, 0, 1, 200)), number, payload)))


def life(random: Random) -> bytes:
    opened = SerialFrame(FrameKind.OPENED, 1, payload=wire.pack_open(_COOKIE, 1))
    octets = encode(wire.pack_frame(opened))
    seq = 0
    for _ in range(random.randrange(60)):
        octets += say(random, seq)
        seq = (seq + random.choice((1, 1, 1, 1, 0, 3))) % 256
        if random.random() < 0.05:
            octets += random.randbytes(300)
    return octets[:65535]


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("hostile") / "hostile"
    sources = [ROOT / "tests/serial/hostile.c", SOURCES / "src/vl2cap_serial.c"]
    command: list[str | Path] = ["cc", *FLAGS, *SANITIZE, "-g", "-O1", "-o", path, *sources]
    subprocess.run(command, check=True)
    return path


def test_a_hostile_bridge_harms_nobody(hostile: Path) -> None:
    random = Random(12)
    lives = [life(random) for _ in range(LIVES)]
    records = b"".join(len(octets).to_bytes(2, "little") + octets for octets in lives)
    done = subprocess.run(hostile, input=records, capture_output=True, timeout=120, check=False)
    assert (done.returncode, done.stdout.decode(), done.stderr.decode()) == (0, f"{LIVES}\n", "")
