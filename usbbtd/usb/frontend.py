"""The frontend of usbif: URBs with a pool of pages and a ring of 16 slots, to a backend that is not trusted.

A *pipe* is one endpoint of one device, with all that is under way on it. Each transfer to the device is submitted by
itself; transfers from the device come on standing URBs. Standing URBs that were answered go back onto the ring with the
next requests, or when fewer than half of a pipe's are left: the backend need not be woken for one while it has others.
"""

from collections import deque
from collections.abc import Sequence
from typing import NamedTuple

from usbbtd.errors import LocalProtocolError, RemoteProtocolError
from usbbtd.usb.wire import usbif

#: The most URBs that may wait on a pipe for a slot of the ring.
QUEUE_LIMIT = 64

#: The slots that only unlinks may take, so that URBs can be cancelled while a device answers none.
RESERVED_SLOTS = 1

#: The most bytes of a transfer: a request's buffer_length has 16 bits.
MAX_TRANSFER = 0xFFFF


class Completion(NamedTuple):
    """The answer to one submitted URB. ``data``: that of an IN control request."""

    pipe: int
    urb: int
    status: int
    data: bytes


class _Pipe:
    __slots__ = ("answered", "depth", "in_flight", "number", "open", "pending", "wire")

    def __init__(self, number: int, wire: int, depth: int) -> None:
        self.number = number
        self.wire = wire  # the number that usbif has for the pipe; each control request adds its direction
        self.depth = depth
        self.open = True
        self.in_flight = 0  # URBs of the backend's, and those that were answered and stand again
        self.answered = 0  # standing URBs that were answered and are not back on the ring yet
        self.pending: deque[_Urb] = deque()


class _Urb:
    __slots__ = ("data", "inward", "length", "number", "pages", "pipe", "request", "setup", "standing")

    def __init__(self, pipe: _Pipe, number: int, inward: bool, length: int, setup: bytes, data: bytes) -> None:
        self.pipe = pipe
        self.number = number
        self.inward = inward
        self.length = length
        self.setup = setup
        self.data = data
        self.standing = False  # whether it goes back onto the ring when it has been answered
        self.pages: list[int] = []
        self.request = b""


class UsbifFrontend:
    """One connection to a usbif backend.

    ``pages``: the pool, (grant reference, page of PAGE_SIZE bytes) each, shared with the backend for as long as this
    object lives. ``ports``: how many ports the backend has. The caller has the rings: it puts ``take_requests`` and
    ``take_conn_requests`` onto them, at once and in order, and moves responses to ``receive_responses`` and
    ``receive_conn_responses``. These raise RemoteProtocolError if the backend breaks a rule; the connection is over
    then.
    """

    def __init__(self, pages: Sequence[tuple[int, memoryview]], *, ports: int = usbif.MAX_PORT) -> None:
        self._pages = list(pages)
        self._free_pages = list(range(len(self._pages)))
        self._free_ids = list(range(usbif.URB_SLOTS))
        self._urbs: list[_Urb | None] = [None] * usbif.URB_SLOTS  # by id; None while free and for an unlink
        self._in_flight = bytearray(usbif.URB_SLOTS)  # by id
        self._pipes: dict[int, _Pipe] = {}
        self._pipe_count = 0
        self._urb_count = 0
        self._answered: list[tuple[int, _Urb]] = []  # standing URBs that were answered and are not back on the ring yet
        self._must_return = False  # whether so many of a pipe's were answered that the backend may soon lack them
        self._unlinks: deque[tuple[int, _Urb]] = deque()
        self._waiting: deque[_Pipe] = deque()  # pipes with something pending, in turn
        self._speeds = bytearray(ports + 1)
        self._free_conn_ids = list(range(usbif.CONN_SLOTS))
        self._received: list[tuple[int, bytes | None]] = []
        self._completions: list[Completion] = []
        self._failures: list[tuple[int, int]] = []
        self._port_changes: list[tuple[int, int]] = []
        self._bytes_in = self._bytes_out = self._errors = self._cancelled = 0

    # What the owner asks for.

    def open_pipe(self, port: int, address: int, endpoint: int, kind: int, *, depth: int = 1) -> int:
        """Opens a pipe to an endpoint, and returns its number, which is never used again.

        ``depth``: how many URBs may be in flight at a time.
        """
        number = self._pipe_count
        self._pipe_count += 1
        self._pipes[number] = _Pipe(number, usbif.pack_pipe(port, address, endpoint, kind), depth)
        return number

    def control(self, pipe: int, setup: bytes, data: bytes = b"") -> int:
        """Submits a control request with its eight octets of setup. Returns its number, which the Completion has.

        ``data``: that of an OUT request. The buffer always has the length in the setup: QEMU's backend asserts that.
        """
        length = int.from_bytes(setup[6:8], "little")
        inward = length > 0 and bool(setup[0] & usbif.IN)
        if not inward and len(data) != length:
            raise LocalProtocolError(f"the setup announces {length} bytes, not {len(data)}")
        return self._submit(pipe, inward, length, setup, data).number

    def send(self, pipe: int, data: bytes) -> int:  # hot: per packet
        """Submits one transfer to an OUT endpoint. Returns its number, which the Completion has."""
        return self._submit(pipe, False, len(data), usbif.NO_SETUP, data).number

    def receive_on(self, pipe: int, length: int) -> None:
        """Fills an IN pipe with standing URBs of ``length`` bytes each, as many as it is deep.

        ``take_received`` has what comes. A URB that fails does not go back: see ``take_failures``, and call this again.
        """
        state = self._pipes[pipe]
        for _ in range(state.depth - state.in_flight - len(state.pending)):
            self._submit(pipe, True, length, usbif.NO_SETUP, b"").standing = True

    def room(self, pipe: int) -> int:
        """Returns how many more URBs may wait on the pipe."""
        return QUEUE_LIMIT - len(self._pipes[pipe].pending)

    def close_pipe(self, pipe: int) -> None:
        """Cancels all URBs of a pipe: answers that still come are not told. Idempotent."""
        state = self._pipes.pop(pipe, None)
        if state is None:
            return
        state.open = False
        if state.pending:
            state.pending.clear()
            self._waiting.remove(state)
        again, self._answered = self._answered, []
        for urb_id, urb in again:
            if urb.pipe is state:
                self._release(urb_id, urb)
            else:
                self._answered.append((urb_id, urb))
        for urb_id, flying in enumerate(self._urbs):
            if flying is not None and flying.pipe is state:
                self._unlinks.append((urb_id, flying))

    # The rings.

    def take_requests(self) -> list[bytes]:  # hot: per wake-up
        """Hands over requests for the urb ring, which has room for them: no more than its slots are unanswered."""
        requests: list[bytes] = []
        if self._must_return or self._waiting or self._unlinks:
            self._return_answered(requests)
        if self._unlinks:
            self._take_unlinks(requests)
        waiting, free = self._waiting, self._free_ids
        stuck = 0
        while stuck < len(waiting) and len(free) > RESERVED_SLOTS:
            pipe = waiting.popleft()
            if pipe.in_flight < pipe.depth and _page_count(pipe.pending[0].length) <= len(self._free_pages):
                requests.append(self._start(pipe, free.pop()))
                stuck = 0
            else:
                stuck += 1
            if pipe.pending:
                waiting.append(pipe)
        return requests

    def receive_responses(self, responses: Sequence[bytes]) -> None:  # hot: per wake-up
        """Takes responses from the urb ring, and copies their data out of the shared pages, once."""
        in_flight, urbs, received = self._in_flight, self._urbs, self._received
        for response in responses:
            untrusted_id, _, status, untrusted_length, _ = usbif.unpack_response(response)
            if untrusted_id >= usbif.URB_SLOTS or not in_flight[untrusted_id]:
                raise RemoteProtocolError(f"the backend answered request {untrusted_id}, which is not in flight")
            urb_id = untrusted_id
            in_flight[urb_id] = 0
            urb = urbs[urb_id]
            if urb is None:  # an unlink; the cancelled URB has its own answer
                self._free_ids.append(urb_id)
                continue
            if not 0 <= untrusted_length <= urb.length:
                raise RemoteProtocolError(
                    f"the backend transferred {untrusted_length} bytes where {urb.length} were asked for"
                )
            if urb.standing and status == usbif.OK and urb.pipe.open:
                pipe = urb.pipe
                received.append((pipe.number, self._read(urb, untrusted_length)))
                self._answered.append((urb_id, urb))
                pipe.answered += 1
                if 2 * (pipe.in_flight - pipe.answered) < pipe.depth:
                    self._must_return = True
            else:
                self._complete(urb_id, urb, status, untrusted_length)

    def take_conn_requests(self) -> list[bytes]:
        """Hands over requests for the conn ring: for all of its slots at first, then one for each response."""
        if not self._free_conn_ids:
            return []
        ids, self._free_conn_ids = self._free_conn_ids, []
        return [usbif.pack_conn_request(conn_id) for conn_id in ids]

    def receive_conn_responses(self, responses: Sequence[bytes]) -> None:
        """Takes responses from the conn ring, which tell of devices that came and went."""
        for response in responses:
            untrusted_id, untrusted_port, untrusted_speed = usbif.unpack_conn_response(response)
            if untrusted_id >= usbif.CONN_SLOTS:
                raise RemoteProtocolError(f"the backend answered conn request {untrusted_id}, which never was")
            if not 1 <= untrusted_port < len(self._speeds):
                raise RemoteProtocolError(f"the backend reported port {untrusted_port} of {len(self._speeds) - 1}")
            if untrusted_speed > usbif.SPEED_HIGH:
                raise RemoteProtocolError(f"the backend reported speed {untrusted_speed} on port {untrusted_port}")
            self._free_conn_ids.append(untrusted_id)
            # QEMU tells of a device that was there before we connected twice.
            if self._speeds[untrusted_port] != untrusted_speed:
                self._speeds[untrusted_port] = untrusted_speed
                self._port_changes.append((untrusted_port, untrusted_speed))

    # The results.

    def take_received(self) -> list[tuple[int, bytes | None]]:
        """Hands over (pipe, data of one IN transfer or None if it failed), in the order of the backend's answers."""
        received, self._received = self._received, []
        return received

    def take_completions(self) -> list[Completion]:
        """Hands over the answers to submitted URBs, in order."""
        completions, self._completions = self._completions, []
        return completions

    def take_failures(self) -> list[tuple[int, int]]:
        """Hands over (pipe, status) of each standing URB that failed."""
        failures, self._failures = self._failures, []
        return failures

    def take_port_changes(self) -> list[tuple[int, int]]:
        """Hands over (port, speed) of each device that was attached or, with SPEED_NONE, detached."""
        changes, self._port_changes = self._port_changes, []
        return changes

    def is_busy(self) -> bool:
        """Tells whether the backend has requests that it has not answered."""
        return any(self._in_flight)

    def statistics(self) -> dict[str, int]:
        return {
            "urbs_in_flight": sum(self._in_flight),
            "urbs_waiting": sum(len(pipe.pending) for pipe in self._pipes.values()),
            "bytes_in": self._bytes_in,
            "bytes_out": self._bytes_out,
            "urb_errors": self._errors,
            "urbs_cancelled": self._cancelled,
        }

    # Inside.

    def _submit(self, number: int, inward: bool, length: int, setup: bytes, data: bytes) -> _Urb:  # hot: per packet
        pipe = self._pipes.get(number)
        if pipe is None:
            raise LocalProtocolError(f"pipe {number} is not open")
        if len(pipe.pending) >= QUEUE_LIMIT:
            raise LocalProtocolError(f"{QUEUE_LIMIT} URBs wait on pipe {number} already")
        if length > MAX_TRANSFER or _page_count(length) > len(self._pages):
            raise LocalProtocolError(f"a transfer of {length} bytes does not fit")
        self._urb_count += 1
        urb = _Urb(pipe, self._urb_count, inward, length, setup, data)
        if not pipe.pending:
            self._waiting.append(pipe)
        pipe.pending.append(urb)
        return urb

    def _start(self, pipe: _Pipe, urb_id: int) -> bytes:  # hot: per packet
        urb = pipe.pending.popleft()
        length = urb.length
        if 0 < length <= usbif.PAGE_SIZE:
            page = self._free_pages.pop()
            urb.pages.append(page)
            ref, memory = self._pages[page]
            if not urb.inward:
                memory[:length] = urb.data
            urb.request = usbif.pack_page_request(urb_id, _wire(urb), length, urb.setup, ref)
        else:
            urb.request = usbif.pack_request(urb_id, _wire(urb), length, urb.setup, self._share(urb))
        urb.data = b""
        pipe.in_flight += 1
        self._urbs[urb_id] = urb
        self._in_flight[urb_id] = 1
        return urb.request

    def _share(self, urb: _Urb) -> list[usbif.Segment]:
        """Takes the pages that a transfer of any length needs, and fills them with the data of an OUT transfer."""
        segments = []
        for start in range(0, urb.length, usbif.PAGE_SIZE):
            page = self._free_pages.pop()
            urb.pages.append(page)
            ref, memory = self._pages[page]
            size = min(usbif.PAGE_SIZE, urb.length - start)
            if not urb.inward:
                memory[:size] = urb.data[start : start + size]
            segments.append((ref, 0, size))
        return segments

    def _return_answered(self, requests: list[bytes]) -> None:  # hot: per wake-up
        for urb_id, urb in self._answered:
            self._in_flight[urb_id] = 1
            urb.pipe.answered = 0
            requests.append(urb.request)
        self._answered.clear()
        self._must_return = False

    def _take_unlinks(self, requests: list[bytes]) -> None:
        while self._unlinks and self._free_ids:
            target_id, target = self._unlinks.popleft()
            if self._urbs[target_id] is not target:
                continue  # it was answered while the unlink waited for a slot
            urb_id = self._free_ids.pop()
            self._in_flight[urb_id] = 1
            requests.append(usbif.pack_unlink(urb_id, _wire(target), target_id))

    def _complete(self, urb_id: int, urb: _Urb, status: int, length: int) -> None:
        data = self._read(urb, length) if urb.inward else b""
        self._release(urb_id, urb)
        if not urb.pipe.open:
            self._cancelled += 1
            return
        if status != usbif.OK:
            self._errors += 1
        if urb.standing:
            self._received.append((urb.pipe.number, None))
            self._failures.append((urb.pipe.number, status))
        else:
            self._bytes_out += 0 if urb.inward else length
            self._completions.append(Completion(urb.pipe.number, urb.number, status, data))

    def _read(self, urb: _Urb, length: int) -> bytes:  # hot: per packet
        self._bytes_in += length
        pages = self._pages
        if length <= usbif.PAGE_SIZE:
            return bytes(pages[urb.pages[0]][1][:length]) if length else b""
        return b"".join(pages[page][1] for page in urb.pages)[:length]

    def _release(self, urb_id: int, urb: _Urb) -> None:
        self._urbs[urb_id] = None
        self._free_ids.append(urb_id)
        self._free_pages += urb.pages
        urb.pipe.in_flight -= 1


def _page_count(length: int) -> int:
    return (length + usbif.PAGE_SIZE - 1) // usbif.PAGE_SIZE


def _wire(urb: _Urb) -> int:
    return urb.pipe.wire | usbif.IN if urb.inward else urb.pipe.wire
