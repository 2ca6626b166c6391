"""Our ring beside Xen's own macros, compiled here: the same operations must leave the same page, byte for byte."""

import ctypes
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests import ROOT
from usbbtd.abi.layout import size_of
from usbbtd.xen.ring import BackRing, FrontRing

INCLUDE = ROOT / "usbbtd" / "abi" / "include"

RINGS = {
    "l2capif": (size_of("struct l2capif_request"), size_of("struct l2capif_response")),
    "usbif_urb": (size_of("struct usbif_urb_request"), size_of("struct usbif_urb_response")),
    "usbif_conn": (size_of("struct usbif_conn_request"), size_of("struct usbif_conn_response")),
}

Operation = tuple[str, int]
OPERATIONS = st.lists(
    st.tuples(
        st.sampled_from(["put_requests", "take_requests", "put_responses", "take_responses"]), st.integers(0, 600)
    ),
    max_size=60,
)


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> ctypes.CDLL:
    path = tmp_path_factory.mktemp("oracle") / "ring_oracle.so"
    source = Path(__file__).with_name("ring_oracle.c")
    command = [
        "cc",
        "-std=gnu11",
        "-O2",
        "-shared",
        "-fPIC",
        "-Wall",
        "-Werror",
        "-I",
        str(INCLUDE),
        str(source),
        "-o",
        str(path),
    ]
    subprocess.run(command, check=True)
    return ctypes.CDLL(str(path))


class Oracle:
    def __init__(self, library: ctypes.CDLL, name: str, index: int) -> None:
        self._library, self._name = library, name
        self._sizes = RINGS[name]
        self._memory = ctypes.create_string_buffer(4096)
        self._scratch = ctypes.create_string_buffer(4096)
        self._call("start")(self._memory, ctypes.c_uint32(index))

    @property
    def page(self) -> bytes:
        return self._memory.raw

    @property
    def free(self) -> int:
        return self._call("free")()

    def put(self, kind: str, entries: list[bytes]) -> bool:
        return self._call(f"put_{kind}")(b"".join(entries), len(entries)) == 1

    def take(self, kind: str) -> list[bytes]:
        count = self._call(f"take_{kind}")(self._scratch)
        size = self._sizes[kind == "responses"]
        return [self._scratch.raw[i * size : (i + 1) * size] for i in range(count)]

    def _call(self, function: str) -> Callable[..., int]:
        found: Callable[..., int] = getattr(self._library, f"{self._name}_{function}")
        return found


def rings_at(page: bytearray, name: str, index: int) -> tuple[FrontRing, BackRing]:
    """Both ends on one page, with all indices at ``index``, as after so many requests."""
    front = FrontRing(page, *RINGS[name])
    if index:
        front._ring.request_index = front._ring.response_index = index
        words = (index, index + 1) * 2
        page[:16] = b"".join((word % 2**32).to_bytes(4, "little") for word in words)
    return front, BackRing(page, *RINGS[name])


@pytest.mark.parametrize("name", RINGS)
def test_the_size_is_the_one_of_the_macros(library: ctypes.CDLL, name: str) -> None:
    front, _ = rings_at(bytearray(4096), name, 0)
    assert front.slots == front.free == Oracle(library, name, 0).free


@pytest.mark.parametrize("index", [0, 2**32 - 3, 2**31 - 5])
@pytest.mark.parametrize("name", RINGS)
@given(operations=OPERATIONS, fill=st.integers(0, 255))
def test_the_pages_are_equal(
    library: ctypes.CDLL, name: str, index: int, operations: list[Operation], fill: int
) -> None:
    page = bytearray(4096)
    front, back = rings_at(page, name, index)
    oracle = Oracle(library, name, index)
    request_size, response_size = RINGS[name]
    unanswered = 0
    for operation, amount in operations:
        end = front if operation in ("put_requests", "take_responses") else back
        if operation.startswith("take"):
            taken = end.take()
            assert taken == oracle.take(operation[5:])
            unanswered += len(taken) if operation == "take_requests" else 0
        elif operation == "put_requests":
            requests = [bytes([fill + i & 0xFF]) * request_size for i in range(min(amount, front.free))]
            assert front.put(requests) == oracle.put("requests", requests)
        else:
            responses = [bytes([fill - i & 0xFF]) * response_size for i in range(min(amount, unanswered))]
            unanswered -= len(responses)
            assert back.put(responses) == oracle.put("responses", responses)
        assert front.free == oracle.free
        assert bytes(page) == oracle.page
