"""SDUs that both ends can check without trusting each other.

A stream is a channel on which one end sends SDUs and the other echoes them. What SDU ``n`` of stream ``s`` is follows
from the two numbers alone, so the echoing end compares with what it computes itself, before it echoes; the sender
compares the echoes likewise. A first SDU, which is not counted, names the stream; what comes before it is echoed
unchecked.
"""

import asyncio
import random
import struct
from collections import deque
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, Literal, Protocol

#: Lengths, used in turn: the smallest; those around usual ACL, MPS and frame limits; 56 and 248, which fill USB packets
#: of 64 with their headers; the largest.
LENGTHS = (
    1, 2, 7, 16, 27, 48, 56, 63, 64, 65, 128, 247, 248, 251, 252, 255, 256, 512, 672, 1000, 1017, 1021, 1024, 1500, 2048
)  # fmt: skip
MTU = max(LENGTHS)

_HELLO = struct.Struct("<4sIH")
_MAGIC = b"SDUs"


class AnyChannel(Protocol):
    """What a guest's channel and a Bumble one have in common; ConnectionError when the channel has ended."""

    async def send(self, sdu: bytes, /) -> None: ...
    async def recv(self) -> bytes: ...


@dataclass
class Counts:
    """What one end saw of a stream. ``bytes`` were received."""

    stream: int
    end: Literal["sender", "echo"]
    sent: int = 0
    received: int = 0
    corrupted: int = 0
    bytes: int = 0

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def sdu_of(stream: int, number: int, length: int = 0) -> bytes:
    """The SDU with this number, ``length`` octets long; 0: as long as is its turn."""
    return random.Random(f"{stream}/{number}").randbytes(length or LENGTHS[number % len(LENGTHS)])


class Sender:
    """The end that begins: sends and checks the echoes. ``rtt_us``: of each SDU, from before it was sent."""

    def __init__(self, channel: AnyChannel, stream: int, *, clock: Callable[[], float], length: int = 0) -> None:
        self.counts = Counts(stream, "sender")
        self.rtt_us: list[float] = []
        self._channel = channel
        self._length = length
        self._clock = clock
        self._sent_at: deque[float] = deque()

    async def run(self, count: int, window: int) -> None:
        """Sends ``count`` SDUs, never more than ``window`` without their echo. ConnectionError: the channel ended."""
        await self._channel.send(_HELLO.pack(_MAGIC, self.counts.stream, self._length))
        room = asyncio.Semaphore(window)
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._send(count, room))
                tasks.create_task(self._check(count, room))
        except ExceptionGroup as group:  # not except*, which wraps what is raised in it once more
            if (ended := group.subgroup(ConnectionError)) is None:
                raise
            raise ended.exceptions[0] from None

    async def _send(self, count: int, room: asyncio.Semaphore) -> None:
        for number in range(count):
            await room.acquire()
            sdu = sdu_of(self.counts.stream, number, self._length)
            self._sent_at.append(self._clock())
            await self._channel.send(sdu)
            self.counts.sent += 1

    async def _check(self, count: int, room: asyncio.Semaphore) -> None:
        for number in range(count):
            sdu = await self._channel.recv()
            self.rtt_us.append((self._clock() - self._sent_at.popleft()) * 1e6)
            receive_checked(self.counts, sdu, number, self._length)
            room.release()


async def echo(channel: AnyChannel, counts: list[Counts]) -> None:
    """The other end, until the channel ends: echoes, checks a stream's SDUs, and appends their counts to ``counts``."""
    try:
        while not _is_hello(sdu := await channel.recv()):
            await channel.send(sdu)
        _, stream, length = _HELLO.unpack(sdu)
        mine = Counts(stream, "echo")
        counts.append(mine)
        while True:
            sdu = await channel.recv()
            receive_checked(mine, sdu, mine.received, length)
            await channel.send(sdu)
            mine.sent += 1
    except ConnectionError:
        return


def _is_hello(sdu: bytes) -> bool:
    return len(sdu) == _HELLO.size and sdu.startswith(_MAGIC)


def receive_checked(counts: Counts, sdu: bytes, number: int, length: int) -> None:
    """Counts an SDU, and whether it is the one that has to come now."""
    counts.received += 1
    counts.bytes += len(sdu)
    counts.corrupted += sdu != sdu_of(counts.stream, number, length)
