"""Security as far as it passes through HCI. Opcodes, codes and layouts: Vol 4, Part E, 7.1, 7.7 and 7.8."""

import struct
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from usbbtd.errors import LocalProtocolError
from usbbtd.hci import events
from usbbtd.hci.authentication import QUESTIONS, Authentication
from usbbtd.hci.wire import commands
from usbbtd.hci.wire import events as incoming
from usbbtd.packets import Packet

ADDRESS, OTHER, STRANGER = b"abcdef", b"ABCDEF", b"uvwxyz"
KEY = bytes(range(16))
BREDR, LE = 0x40, 0x50

REFUSED = [
    (incoming.PinCodeRequest(ADDRESS), "0e0406" + ADDRESS.hex()),
    (incoming.LinkKeyRequest(ADDRESS), "0c0406" + ADDRESS.hex()),
    (incoming.IoCapabilityRequest(ADDRESS), "340407" + ADDRESS.hex() + "18"),
    (incoming.UserConfirmationRequest(ADDRESS, 123456), "2d0406" + ADDRESS.hex()),
    (incoming.UserPasskeyRequest(ADDRESS), "2f0406" + ADDRESS.hex()),
    (incoming.RemoteOobDataRequest(ADDRESS), "330406" + ADDRESS.hex()),
    (incoming.LeLongTermKeyRequest(LE, 7, 8), "1b20025000"),
]

#: For each question: the event that tells it, the answers, and the command for each.
Answer = Callable[[Authentication], None]
ANSWERED: list[tuple[Any, events.Event, Answer, tuple[int, bytes]]] = [
    (
        incoming.PinCodeRequest(ADDRESS),
        events.PinRequested(ADDRESS),
        lambda security: security.answer_pin(ADDRESS, b"0000"),
        (0x040D, ADDRESS + b"\4" + b"0000" + bytes(12)),
    ),
    (
        incoming.LinkKeyRequest(ADDRESS),
        events.LinkKeyRequested(ADDRESS),
        lambda security: security.answer_link_key(ADDRESS, KEY),
        (0x040B, ADDRESS + KEY),
    ),
    (
        incoming.IoCapabilityRequest(ADDRESS),
        events.IoCapabilityRequested(ADDRESS),
        lambda security: security.answer_io_capability(ADDRESS, 1, 0, 5),
        (0x042B, ADDRESS + b"\1\0\5"),
    ),
    (
        incoming.IoCapabilityRequest(ADDRESS),
        events.IoCapabilityRequested(ADDRESS),
        lambda security: security.answer_io_capability(ADDRESS, 4, 1, 3),  # a keyboard with a display
        (0x042B, ADDRESS + b"\1\1\3"),
    ),
    (
        incoming.IoCapabilityRequest(ADDRESS),
        events.IoCapabilityRequested(ADDRESS),
        lambda security: security.refuse_io_capability(ADDRESS, 0x37),
        (0x0434, ADDRESS + b"\x37"),
    ),
    (
        incoming.UserConfirmationRequest(ADDRESS, 123456),
        events.ConfirmationRequested(ADDRESS, 123456),
        lambda security: security.answer_confirmation(ADDRESS, True),
        (0x042C, ADDRESS),
    ),
    (
        incoming.UserConfirmationRequest(ADDRESS, 123456),
        events.ConfirmationRequested(ADDRESS, 123456),
        lambda security: security.answer_confirmation(ADDRESS, False),
        (0x042D, ADDRESS),
    ),
    (
        incoming.UserPasskeyRequest(ADDRESS),
        events.PasskeyRequested(ADDRESS),
        lambda security: security.answer_passkey(ADDRESS, 999999),
        (0x042E, ADDRESS + struct.pack("<I", 999999)),
    ),
    (
        incoming.RemoteOobDataRequest(ADDRESS),
        events.OobRequested(ADDRESS),
        lambda security: security.answer_oob(ADDRESS, KEY + KEY[::-1]),
        (0x0430, ADDRESS + KEY + KEY[::-1]),
    ),
    (
        incoming.RemoteOobDataRequest(ADDRESS),
        events.OobRequested(ADDRESS),
        lambda security: security.answer_oob(ADDRESS, bytes(range(64))),
        (0x0445, ADDRESS + bytes(range(64))),
    ),
    (
        incoming.LeLongTermKeyRequest(LE, 7, 8),
        events.LongTermKeyRequested(LE, 7, 8),
        lambda security: security.answer_long_term_key(LE, KEY),
        (0x201A, struct.pack("<H", LE) + KEY),
    ),
]

#: An answer to each kind of question that refuses it.
REFUSE: dict[type[Packet], Answer] = {
    incoming.PinCodeRequest: lambda security: security.answer_pin(ADDRESS, None),
    incoming.LinkKeyRequest: lambda security: security.answer_link_key(ADDRESS, None),
    incoming.IoCapabilityRequest: lambda security: security.refuse_io_capability(ADDRESS, 0x18),
    incoming.UserConfirmationRequest: lambda security: security.answer_confirmation(ADDRESS, False),
    incoming.UserPasskeyRequest: lambda security: security.answer_passkey(ADDRESS, None),
    incoming.RemoteOobDataRequest: lambda security: security.answer_oob(ADDRESS, None),
    incoming.LeLongTermKeyRequest: lambda security: security.answer_long_term_key(LE, None),
}


@pytest.fixture
def linked(scripted: Any) -> Any:
    """A controller with a link to ADDRESS on each transport, and a host whose user has keys."""
    return with_links(scripted(secure=True).up())


def with_links(controller: Any) -> Any:
    controller.bredr_link(BREDR, ADDRESS)
    controller.le_link(LE, ADDRESS)
    controller.take()
    return controller


def counted(controller: Any) -> dict[str, int]:
    """What was counted, without what was not."""
    return {name: count for name, count in controller.host.security.counters.items() if count}


def hear(controller: Any, event: Any) -> None:
    controller.host.receive_event(event.pack(), controller.now)


def test_the_tables_are_whole() -> None:
    assert {type(question) for question, _ in REFUSED} == {type(row[0]) for row in ANSWERED} == QUESTIONS.keys()
    assert REFUSE.keys() == QUESTIONS.keys()


class TestQuestions:
    @pytest.mark.parametrize(("question", "command"), REFUSED)
    @pytest.mark.parametrize("has_user", [False, True])
    def test_no_without_a_user_and_without_a_link(
        self, scripted: Any, question: Any, command: str, has_user: bool
    ) -> None:
        controller = scripted(secure=has_user).up()
        if not has_user:
            with_links(controller)
        hear(controller, question)
        assert controller.host.take_events() == []
        assert controller.host.take_commands() == [bytes.fromhex(command)]
        assert counted(controller) == {"security_requests_refused": 1}

    @pytest.mark.parametrize(("question", "told", "answer", "command"), ANSWERED)
    def test_a_question_is_told_and_answered_once(
        self, linked: Any, question: Any, told: events.Event, answer: Answer, command: tuple[int, bytes]
    ) -> None:
        answer(linked.host.security)  # nobody has asked
        hear(linked, question)
        hear(linked, question)
        assert linked.host.take_events() == [told]
        assert linked.take() == []
        answer(linked.host.security)
        answer(linked.host.security)
        assert linked.take() == [command]
        assert counted(linked) == {"security_events_stray": 1, "security_answers_late": 2}

    @pytest.mark.parametrize(("question", "command"), REFUSED)
    def test_none_refuses(self, linked: Any, question: Any, command: str) -> None:
        hear(linked, question)
        REFUSE[type(question)](linked.host.security)
        assert linked.host.take_commands() == [bytes.fromhex(command)]

    @pytest.mark.parametrize(("question", "told", "answer", "command"), ANSWERED)
    def test_an_answer_comes_after_the_link_has_ended(
        self, linked: Any, question: Any, told: events.Event, answer: Answer, command: tuple[int, bytes]
    ) -> None:
        hear(linked, question)
        linked.unlink(BREDR)
        linked.unlink(LE)
        answer(linked.host.security)
        linked.bredr_link(BREDR, ADDRESS)
        linked.le_link(LE, ADDRESS)
        answer(linked.host.security)  # nor is it one for the next link
        assert linked.take() == []
        assert counted(linked) == {"security_answers_late": 2}

    @pytest.mark.parametrize(
        ("first", "second"),
        [
            (incoming.UserConfirmationRequest(ADDRESS, 1), incoming.UserConfirmationRequest(ADDRESS, 2)),
            (incoming.LeLongTermKeyRequest(LE, 1, 1), incoming.LeLongTermKeyRequest(LE, 2, 1)),
        ],
    )
    def test_no_answer_becomes_that_of_another_question(self, linked: Any, first: Any, second: Any) -> None:
        hear(linked, first)
        hear(linked, second)
        assert len(linked.host.take_events()) == 1
        assert linked.host.take_commands() == [QUESTIONS[type(second)].refusal(second).pack()]
        linked.host.security.answer_confirmation(ADDRESS, True)
        linked.host.security.answer_long_term_key(LE, KEY)
        assert linked.take() == []

    @pytest.mark.parametrize(
        "end", [incoming.SimplePairingComplete(5, ADDRESS), incoming.AuthenticationComplete(5, BREDR)]
    )
    def test_a_question_ends_with_the_pairing(self, linked: Any, end: Any) -> None:
        linked.host.security.authenticate(BREDR)
        linked.take()
        hear(linked, incoming.UserConfirmationRequest(ADDRESS, 1))
        hear(linked, end)
        linked.host.security.answer_confirmation(ADDRESS, True)
        assert linked.take() == []

    @pytest.mark.parametrize("transport", ["BR/EDR", "LE"])
    def test_a_question_about_the_other_transport_is_refused(self, scripted: Any, transport: str) -> None:
        controller = scripted(secure=True).up()
        if transport == "LE":
            controller.le_link(LE, ADDRESS, address_type=0)
            hear(controller, incoming.LinkKeyRequest(ADDRESS))
        else:
            controller.bredr_link(BREDR, ADDRESS)
            hear(controller, incoming.LeLongTermKeyRequest(BREDR, 0, 0))
        assert len(controller.take()) == 1
        assert counted(controller) == {"security_requests_refused": 1}

    @pytest.mark.parametrize(
        "answer",
        [
            lambda security: security.answer_pin(ADDRESS, b""),
            lambda security: security.answer_pin(ADDRESS, bytes(17)),
            lambda security: security.answer_link_key(ADDRESS, bytes(15)),
            lambda security: security.answer_passkey(ADDRESS, 1_000_000),
            lambda security: security.answer_passkey(ADDRESS, -1),
            lambda security: security.answer_oob(ADDRESS, bytes(48)),
            lambda security: security.answer_long_term_key(LE, bytes(17)),
            lambda security: security.start_encryption(LE, 0, 0, bytes(15)),
        ],
    )
    def test_no_answer_goes_out_that_is_none(self, linked: Any, answer: Answer) -> None:
        with pytest.raises(LocalProtocolError):
            answer(linked.host.security)


class TestAuthentication:
    def test_asked_for_once_and_told_once(self, linked: Any) -> None:
        for _ in range(2):
            linked.host.security.authenticate(BREDR)
        assert linked.take() == [(0x0411, struct.pack("<H", BREDR))]
        for _ in range(2):
            hear(linked, incoming.AuthenticationComplete(0x05, BREDR))
        assert linked.host.take_events() == [events.Authenticated(BREDR, 0x05)]
        assert counted(linked) == {"security_events_stray": 1}

    def test_refused(self, linked: Any) -> None:
        linked.answers[0x0411] = b"\x0c"
        linked.host.security.authenticate(BREDR)
        linked.run()
        assert linked.host.take_events() == [events.Authenticated(BREDR, 0x0C)]

    def test_refused_when_the_link_has_ended(self, linked: Any) -> None:
        linked.answers[0x0411] = linked.answers[0x0413] = b"\x02"
        linked.host.security.authenticate(BREDR)
        linked.host.security.encrypt(BREDR)
        linked.unlink(BREDR)
        linked.bredr_link(BREDR, ADDRESS)
        linked.run()
        assert [type(event) for event in linked.host.take_events()] == [events.Disconnected, events.Connected]

    @pytest.mark.parametrize("handle", [0x41, LE])
    def test_there_is_no_such_link(self, linked: Any, handle: int) -> None:
        linked.host.security.authenticate(handle)
        linked.host.security.encrypt(handle)
        linked.host.security.start_encryption(BREDR, 0, 0, KEY)
        assert linked.take() == []

    @pytest.mark.parametrize(
        ("event", "told"),
        [
            (incoming.LinkKeyNotification(ADDRESS, KEY, 8), events.LinkKeyNotified(ADDRESS, KEY, 8)),
            (incoming.IoCapabilityResponse(ADDRESS, 1, 0, 5), events.IoCapabilityAnswered(ADDRESS, 1, 0, 5)),
            (incoming.UserPasskeyNotification(ADDRESS, 1234), events.PasskeyShown(ADDRESS, 1234)),
            (incoming.SimplePairingComplete(0x18, ADDRESS), events.PairingCompleted(ADDRESS, 0x18)),
        ],
    )
    def test_what_is_told_of_our_links_only(self, linked: Any, event: Any, told: events.Event) -> None:
        hear(linked, event)
        assert linked.host.take_events() == [told]
        linked.unlink(BREDR)
        linked.host.take_events()
        hear(linked, event)
        assert linked.host.take_events() == []
        assert counted(linked) == {"security_events_stray": 1}

    def test_no_key_is_shown(self) -> None:
        secrets = [
            events.LinkKeyNotified(ADDRESS, KEY, 8),
            incoming.LinkKeyNotification(ADDRESS, KEY, 8),
            commands.LinkKeyRequestReply(ADDRESS, KEY),
            commands.PinCodeRequestReply(ADDRESS, 16, KEY),
            commands.LeEnableEncryption(LE, 0, 0, KEY),
            commands.LeLongTermKeyRequestReply(LE, KEY),
            commands.LeAddDeviceToResolvingList(0, ADDRESS, KEY, KEY),
            commands.RemoteOobDataRequestReply(ADDRESS, KEY, KEY),
            commands.RemoteOobExtendedDataRequestReply(ADDRESS, KEY, KEY, KEY, KEY),
        ]
        assert not [secret for secret in secrets if repr(KEY)[2:20] in repr(secret)]
        assert "123456" not in repr([events.PasskeyShown(ADDRESS, 123456)])
        assert "123456" not in repr([incoming.UserPasskeyNotification(ADDRESS, 123456)])
        assert "123456" not in repr([commands.UserPasskeyRequestReply(ADDRESS, 123456)])


def size_of(handle: int, size: int) -> bytes:
    return struct.pack("<BHB", 0, handle, size)


class TestEncryption:
    def test_bredr(self, linked: Any) -> None:
        """The size of the key is read before the encryption is told."""
        linked.answers[0x1408] = size_of(BREDR, 16)
        linked.host.security.encrypt(BREDR)
        assert linked.take() == [(0x0413, struct.pack("<HB", BREDR, 1))]
        hear(linked, incoming.EncryptionChange(0, BREDR, 2))
        assert linked.host.take_events() == []
        linked.run()
        assert linked.host.take_events() == [events.EncryptionChanged(BREDR, 0, 2, 16)]

    @pytest.mark.parametrize(
        "answer", [b"\x01", size_of(BREDR + 1, 16), size_of(BREDR, 0), size_of(BREDR, 17), b"\0", b"\0\x40"]
    )
    def test_a_size_that_the_controller_does_not_tell_is_none(self, linked: Any, answer: bytes) -> None:
        linked.answers[0x1408] = answer
        hear(linked, incoming.EncryptionChange(0, BREDR, 1))
        linked.run()
        assert linked.host.take_events() == [events.EncryptionChanged(BREDR, 0, 1, 0)]

    def test_a_controller_that_never_tells_sizes(self, scripted: Any) -> None:
        """It is reset, and the second time it is not asked any more."""
        controller = scripted({0x1408: None}, secure=True).up()
        for _ in range(2):
            with_links(controller)
            hear(controller, incoming.EncryptionChange(0, BREDR, 1))
            controller.wait(5.0)
            assert events.Disconnected(BREDR, 0x03) in controller.host.take_events()
        with_links(controller)
        hear(controller, incoming.EncryptionChange(0, BREDR, 1))
        assert controller.host.take_events() == [events.EncryptionChanged(BREDR, 0, 1, 0)]
        assert "encryption over BR/EDR" in controller.host.lost

    def test_the_link_ends_before_the_size_is_told(self, linked: Any) -> None:
        linked.answers[0x1408] = size_of(BREDR, 16)
        hear(linked, incoming.EncryptionChange(0, BREDR, 1))
        linked.unlink(BREDR)
        linked.bredr_link(BREDR, ADDRESS)
        linked.run()
        assert [type(event) for event in linked.host.take_events()] == [events.Disconnected, events.Connected]

    def test_off_and_on_again_for_a_change_of_role(self, linked: Any) -> None:
        """An answer about the old encryption says nothing of the new."""
        linked.answers[0x1408] = size_of(BREDR, 16)
        hear(linked, incoming.EncryptionChange(0, BREDR, 1))
        assert linked.host.take_commands() != []  # and not answered yet
        hear(linked, incoming.EncryptionChange(0, BREDR, 0))
        assert linked.host.take_events() == [events.EncryptionChanged(BREDR, 0, 0, 0)]
        hear(linked, incoming.EncryptionChange(0, BREDR, 1))
        linked.event(0x0E, struct.pack("<BH", 1, 0x1408) + size_of(BREDR, 7))
        assert linked.host.take_events() == []
        linked.run()
        assert linked.host.take_events() == [events.EncryptionChanged(BREDR, 0, 1, 16)]

    def test_a_flood_reads_one_size_at_a_time(self, linked: Any) -> None:
        linked.answers[0x1408] = size_of(BREDR, 16)
        for mode in (1, 2, 1, 2):
            hear(linked, incoming.EncryptionChange(0, BREDR, mode))
        linked.run()
        assert linked.host.take_events() == [events.EncryptionChanged(BREDR, 0, 2, 16)]
        assert counted(linked) == {"security_events_stray": 3}

    @pytest.mark.parametrize(("mode", "told"), [(0, 0), (3, 0), (0xFF, 0)])
    def test_a_mode_that_there_is_not_is_none(self, linked: Any, mode: int, told: int) -> None:
        hear(linked, incoming.EncryptionChange(0, BREDR, mode))
        assert linked.host.take_events() == [events.EncryptionChanged(BREDR, 0, told, 0)]

    @pytest.mark.parametrize(("handle", "size"), [(BREDR, 16), (LE, 16), (LE, 0)])
    def test_the_second_form_has_the_size(self, linked: Any, handle: int, size: int) -> None:
        hear(linked, incoming.EncryptionChangeV2(0, handle, 1, size))
        assert linked.host.take_events() == [events.EncryptionChanged(handle, 0, 1, size)]
        assert linked.take() == []

    def test_the_second_form_without_a_size(self, linked: Any) -> None:
        linked.answers[0x1408] = size_of(BREDR, 9)
        hear(linked, incoming.EncryptionChangeV2(0, BREDR, 1, 0))
        linked.run()
        assert linked.host.take_events() == [events.EncryptionChanged(BREDR, 0, 1, 9)]

    def test_le(self, linked: Any) -> None:
        linked.host.security.start_encryption(LE, 0x0102030405060708, 0x1122, KEY)
        assert linked.take() == [(0x2019, struct.pack("<HQH", LE, 0x0102030405060708, 0x1122) + KEY)]
        hear(linked, incoming.EncryptionChange(0, LE, 1))
        hear(linked, incoming.EncryptionKeyRefreshComplete(0, LE))
        assert linked.host.take_events() == [events.EncryptionChanged(LE, 0, 1, 0), events.KeyRefreshed(LE, 0)]

    def test_only_a_central_may_begin_on_le(self, scripted: Any) -> None:
        controller = scripted(secure=True).up()
        controller.advertise()
        controller.le_link(LE, ADDRESS, role=1)
        controller.take()
        controller.host.security.start_encryption(LE, 0, 0, KEY)
        assert controller.take() == []

    @pytest.mark.parametrize("handle", [BREDR, LE])
    def test_refused(self, linked: Any, handle: int) -> None:
        linked.answers[0x0413] = linked.answers[0x2019] = b"\x06"
        linked.host.security.encrypt(handle)
        linked.host.security.start_encryption(handle, 0, 0, KEY)
        linked.run()
        assert linked.host.take_events() == [events.EncryptionChanged(handle, 0x06, 0, 0)]

    @pytest.mark.parametrize("handle", [BREDR, LE])
    def test_failed(self, linked: Any, handle: int) -> None:
        hear(linked, incoming.EncryptionChange(0x06, handle, 1))
        assert linked.host.take_events() == [events.EncryptionChanged(handle, 0x06, 0, 0)]
        assert linked.take() == []

    def test_a_refresh_is_told_after_the_encryption(self, linked: Any) -> None:
        linked.answers[0x1408] = size_of(BREDR, 16)
        hear(linked, incoming.EncryptionKeyRefreshComplete(0, BREDR))  # of what is not encrypted
        assert counted(linked) == {"security_events_stray": 1}
        hear(linked, incoming.EncryptionChange(0, BREDR, 1))
        hear(linked, incoming.EncryptionKeyRefreshComplete(0, BREDR))
        linked.run()
        assert linked.host.take_events() == [events.EncryptionChanged(BREDR, 0, 1, 16), events.KeyRefreshed(BREDR, 0)]
        assert counted(linked) == {"security_events_stray": 1}

    @pytest.mark.parametrize(("answer", "size"), [(size_of(BREDR, 16), None), (size_of(BREDR, 1), 1), (b"\x0c", 0)])
    def test_a_refresh_may_not_shorten_the_key_in_silence(self, linked: Any, answer: bytes, size: int | None) -> None:
        linked.answers[0x1408] = size_of(BREDR, 16)
        hear(linked, incoming.EncryptionChange(0, BREDR, 1))
        linked.take()
        linked.answers[0x1408] = answer
        hear(linked, incoming.EncryptionKeyRefreshComplete(0, BREDR))
        linked.run()
        changed = [] if size is None else [events.EncryptionChanged(BREDR, 0, 1, size)]
        assert linked.host.take_events() == [*changed, events.KeyRefreshed(BREDR, 0)]

    def test_each_change_is_told_though_the_size_is_the_same(self, linked: Any) -> None:
        linked.answers[0x1408] = size_of(BREDR, 16)
        for _ in range(2):
            hear(linked, incoming.EncryptionChange(0, BREDR, 1))
            linked.run()
            assert linked.host.take_events() == [events.EncryptionChanged(BREDR, 0, 1, 16)]

    @pytest.mark.parametrize("event", [incoming.EncryptionChange(0, 0x41, 1), incoming.AuthenticationComplete(0, 0x41)])
    def test_links_that_there_are_not(self, linked: Any, event: Any) -> None:
        hear(linked, event)
        assert linked.host.take_events() == []
        assert counted(linked) == {"security_events_stray": 1}

    @pytest.mark.parametrize("event", ["08020001", "5903000001"])
    def test_a_change_that_cannot_be_read_is_not_lost(self, event: str) -> None:
        """It may have been the end of the encryption."""
        assert not incoming.may_be_lost(bytes.fromhex(event))


handles = st.sampled_from([BREDR, LE, 0x41])
addresses = st.sampled_from([ADDRESS, OTHER, STRANGER])
numbers = st.integers(0, 255)
hostile = st.one_of(
    st.builds(incoming.AuthenticationComplete, st.sampled_from([0, 5]), handles),
    st.builds(incoming.EncryptionChange, st.sampled_from([0, 6]), handles, st.integers(0, 3)),
    st.builds(incoming.EncryptionChangeV2, st.sampled_from([0, 6]), handles, st.integers(0, 3), numbers),
    st.builds(incoming.EncryptionKeyRefreshComplete, st.sampled_from([0, 6]), handles),
    st.builds(incoming.LinkKeyNotification, addresses, st.just(KEY), numbers),
    st.builds(incoming.IoCapabilityResponse, addresses, numbers, numbers, numbers),
    st.builds(incoming.UserPasskeyNotification, addresses, st.integers(0, 0xFFFFFFFF)),
    st.builds(incoming.SimplePairingComplete, numbers, addresses),
    st.builds(incoming.UserConfirmationRequest, addresses, st.integers(0, 3)),
    st.builds(incoming.LeLongTermKeyRequest, handles, st.integers(0, 1), st.integers(0, 1)),
    st.builds(incoming.PinCodeRequest, addresses),
    st.builds(incoming.LinkKeyRequest, addresses),
    st.builds(incoming.IoCapabilityRequest, addresses),
    st.builds(incoming.UserPasskeyRequest, addresses),
    st.builds(incoming.RemoteOobDataRequest, addresses),
    st.sampled_from(["unlink", "link", "answer", "wish", "run"]),
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])  # the fixture is a class
@given(st.lists(hostile, max_size=40), st.sampled_from([b"\x01", size_of(BREDR, 16), size_of(LE, 7), b"\0"]))
def test_a_hostile_controller(scripted: Any, script: list[Any], size: bytes) -> None:
    """Only links that there are are told of, and no question is answered twice."""
    controller = with_links(scripted({0x1408: size}, secure=True).up())
    security = controller.host.security
    up, asked = {BREDR, LE}, 0
    for step in script:
        match step:
            case "unlink":
                controller.unlink(BREDR)
                up.discard(BREDR)
            case "link":
                controller.bredr_link(BREDR, ADDRESS)
                up.add(BREDR)
            case "answer":
                for answer in REFUSE.values():
                    answer(security)
            case "wish":
                security.authenticate(BREDR)
                security.encrypt(BREDR)
                security.start_encryption(LE, 0, 0, KEY)
            case "run":
                controller.run()
            case _:
                hear(controller, step)
                asked += type(step) in QUESTIONS
        for event in controller.host.take_events():
            handle = getattr(event, "handle", None)
            assert handle is None or handle in up or isinstance(event, events.Disconnected)
            if isinstance(event, events.EncryptionChanged) and handle == BREDR and not event.status:
                assert event.key_size in range(17)
            assert getattr(event, "address", ADDRESS) == ADDRESS
    controller.run()
    refusals = {question.refusal(row[0]).CODE for row in ANSWERED for question in [QUESTIONS[type(row[0])]]}
    assert sum(opcode in refusals for opcode, _ in controller.commands) <= asked
    assert controller.host.state == "up"
