import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.hci.vendor.conftest import Run
from tests.sim.vendor_intel import IntelController, payload, sfi
from tests.sim.vendor_realtek import complete, first_form
from usbbtd.errors import RemoteProtocolError
from usbbtd.hci.vendor.choice import setup_for
from usbbtd.hci.vendor.setup import SETUP_S, VendorSetup
from usbbtd.hci.vendor.steps import AwaitEvent, SetupResult, SetupScript, Tell, ask, load
from usbbtd.hci.vendor.wire import IntelReset, IntelSecureSend, RtkReadRomVersion, RtkRomVersion

RESET = IntelReset(0, 1, 0, 1, 0)


def endless() -> SetupScript[SetupResult]:
    while True:
        yield from load(RtkReadRomVersion())


def start(script: SetupScript[SetupResult]) -> VendorSetup:
    setup = VendorSetup(script, timeout_s=2.0)
    setup.start(0.0)
    return setup


def test_a_controller_that_always_answers_a_little_too_early_is_given_up_at_last() -> None:
    setup = start(endless())
    now = 0.0
    while setup.result is None:
        assert setup.take_commands() == [RtkReadRomVersion().pack()]
        due = setup.next_timeout()
        assert due is not None
        now = min(now + 9.9, due)
        if now == SETUP_S:
            setup.handle_timeout(now)
        else:
            setup.receive_event(complete(0xFC6D, b"\0\1"), now)
    assert setup.result.failure == "its set-up has taken 60 s"
    assert setup.next_timeout() is None


def test_answers_to_other_commands_are_ignored() -> None:
    setup = start(endless())
    setup.take_commands()
    for event in (complete(0x0C03, b"\0"), bytes.fromhex("0f040001030c"), bytes.fromhex("0f04000000fc"), b"\xff\x00"):
        setup.receive_event(event, 0.0)
    setup.receive_event(bytes.fromhex("0f0400016dfc"), 0.0)  # the answer is under way
    assert setup.take_commands() == []
    setup.receive_event(bytes.fromhex("0f0401016dfc"), 0.0)
    assert setup.result is not None
    assert setup.result.failure == "RtkReadRomVersion (0xFC6D) failed with status 0x01"


def test_an_event_may_come_before_it_is_waited_for_but_not_before_the_last_start() -> None:
    def script() -> SetupScript[SetupResult]:
        yield from load(IntelSecureSend(1, b"data"))
        first = yield AwaitEvent(6, 5.0)
        yield Tell(RESET)
        second = yield AwaitEvent(2, 5.0)
        return SetupResult(first.data.hex(), second.data.hex())

    setup = start(script())
    setup.receive_event(bytes.fromhex("ff020200"), 0.0)
    setup.receive_event(bytes.fromhex("ff03060102"), 0.0)
    setup.receive_event(complete(0xFC09, b"\0"), 0.0)
    assert setup.result is None
    assert setup.is_leaving
    setup.receive_event(bytes.fromhex("ff020203"), 0.0)
    assert setup.result == ("0102", "03", None, None, None)


def test_an_answer_that_is_cut_short_ends_it() -> None:
    def script() -> SetupScript[SetupResult]:
        yield from ask(RtkReadRomVersion(), RtkRomVersion)
        return SetupResult()

    setup = start(script())
    setup.receive_event(complete(0xFC6D, b"\0"), 0.0)
    assert setup.result is not None
    assert setup.result.failure == "RtkRomVersion is cut short: 0 octets"


def test_silence_is_an_answer() -> None:
    def script() -> SetupScript[SetupResult]:
        answer = yield from ask(RtkReadRomVersion(), RtkRomVersion)
        event = yield AwaitEvent(6, 5.0)
        return SetupResult(str(answer), str(event.status))

    ran = Run(VendorSetup(script(), timeout_s=2.0), lambda _: [], {})
    assert ran.result[:2] == ("None", "-1")
    assert ran.took_s == 7


@given(st.lists(st.binary(max_size=20), max_size=20))
def test_events_of_any_octets_end_it_or_change_nothing(events: list[bytes]) -> None:
    setup = start(endless())
    for event in events:
        try:
            setup.receive_event(event, 0.0)
        except RemoteProtocolError:
            continue
    assert setup.result is None or setup.result.failure


ANSWERS = st.one_of(
    st.builds(
        complete,
        st.sampled_from([0x0C03, 0x1001, 0xFC01, 0xFC05, 0xFC09, 0xFC0D, 0xFC20, 0xFC61, 0xFC6D, 0xFC8B]),
        st.binary(max_size=30) | st.binary(max_size=30).map(lambda octets: b"\0" + octets),
    ),
    st.sampled_from([bytes.fromhex("ff020600"), bytes.fromhex("ff020200")]),
)
VERSIONS = [
    complete(0x1001, bytes.fromhex("00 0a 0b00 0a 5d00 6187")),
    complete(0xFC05, bytes.fromhex("00 37 12 10 06 30 01 02 13 00")),
    complete(0xFC05, b"\0" + IntelController(b"").facts((0x12, bytes.fromhex("00371700")), (0x1C, b"\1"))),
]
FILES = {
    "rtl_bt/rtl8761bu_fw.bin": first_form({rom: bytes(600) for rom in range(256)}),
    "intel/ibt-0000-0000.sfi": sfi(payload(1000)),
    "intel/ibt-18-16-48.sfi": sfi(payload(1000), both=False),
}


@given(
    identity=st.sampled_from([(0x0BDA, 0x8771), (0x8087, 0x0032), (0x0A12, 0x0001)]),
    answers=st.lists(st.lists(ANSWERS | st.sampled_from(VERSIONS), max_size=4), max_size=12),
    helpful=st.booleans(),
)
def test_every_controller_comes_to_an_end(
    identity: tuple[int, int], answers: list[list[bytes]], *, helpful: bool
) -> None:
    """Whatever it says, and be it silent: within the time for a set-up, without an exception, and with known files."""
    setup = setup_for(*identity, timeout_s=2.0)
    assert setup is not None
    rest = iter(answers)

    def receive(command: bytes) -> list[bytes]:
        good = [complete(int.from_bytes(command[:2], "little"), b"\0" + bytes(21))] if helpful else []
        return next(rest, good)

    try:
        ran = Run(setup, receive, FILES, steps=2000)
    except RemoteProtocolError:
        return
    assert ran.took_s <= SETUP_S
    assert all(re.fullmatch(r"(rtl_bt|intel)/[a-z0-9_-]+\.(bin|sfi|ddc)", name) for name in ran.asked)


def test_a_malformed_event_is_the_controllers_fault() -> None:
    with pytest.raises(RemoteProtocolError):
        start(endless()).receive_event(b"\x0e\x09\x01", 0.0)
