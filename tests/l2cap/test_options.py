"""Options of Vol 3, Part A, 5, by hand."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from usbbtd.errors import RemoteProtocolError
from usbbtd.l2cap.options import Verdict, counter_proposal, judge, mtu_option, parse_options

SUCCESS, UNACCEPTABLE, UNKNOWN = 0, 1, 3
RFC_BASIC = "0409 00 00 00 0000 0000 0000"
QOS_BEST_EFFORT = "0316 00 01 00000000 00000000 00000000 ffffffff ffffffff"


@pytest.mark.parametrize(
    ("options", "answer"),
    [
        pytest.param("", Verdict(SUCCESS, b"", None), id="nothing"),
        pytest.param("0102 3000", Verdict(SUCCESS, bytes.fromhex("01023000"), 48), id="cfd_bv_09_mtu_48"),
        pytest.param("0102 2f00", Verdict(UNACCEPTABLE, bytes.fromhex("01023000"), None), id="cfd_bv_08_mtu_47"),
        pytest.param("0102 ffff", Verdict(SUCCESS, bytes.fromhex("0102ffff"), 0xFFFF), id="mtu_65535"),
        pytest.param("0202 ffff", Verdict(SUCCESS, bytes.fromhex("0202ffff"), None), id="flush_timeout"),
        pytest.param("0202 0100", Verdict(SUCCESS, bytes.fromhex("02020100"), None), id="flush_timeout_finite"),
        pytest.param("0202 0000", Verdict(UNACCEPTABLE, bytes.fromhex("0202ffff"), None), id="flush_timeout_reserved"),
        pytest.param(QOS_BEST_EFFORT, Verdict(SUCCESS, bytes.fromhex(QOS_BEST_EFFORT), None), id="qos_best_effort"),
        pytest.param(
            QOS_BEST_EFFORT + RFC_BASIC + "0202 ffff 0102 4000",
            Verdict(SUCCESS, bytes.fromhex("0202 ffff 0102 4000" + RFC_BASIC), 64),
            id="more_than_a_response_has_room_for",
        ),
        pytest.param(
            QOS_BEST_EFFORT.replace("0316 00 01", "0316 00 02"),
            Verdict(UNACCEPTABLE, bytes.fromhex(QOS_BEST_EFFORT), None),
            id="qos_guaranteed",
        ),
        pytest.param(RFC_BASIC, Verdict(SUCCESS, bytes.fromhex(RFC_BASIC), None), id="mode_basic"),
        pytest.param(
            "0409 03 3f 01 d007 e02e f203",
            Verdict(UNACCEPTABLE, bytes.fromhex(RFC_BASIC), None),
            id="mode_ertm",
        ),
        pytest.param("0501 00", Verdict(SUCCESS, b"", None), id="no_fcs"),
        pytest.param("0501 01", Verdict(SUCCESS, b"", None), id="fcs_without_meaning_in_basic_mode"),
        pytest.param("ff03 010203 0102 4000", Verdict(SUCCESS, bytes.fromhex("01024000"), 64), id="cfd_bv_12_hint"),
        pytest.param(
            "0102 4000 7f01aa 2000",
            Verdict(UNKNOWN, bytes.fromhex("7f01aa2000"), None),
            id="cfd_bv_14_unknown_options",
        ),
        pytest.param("0702 3f00", Verdict(UNKNOWN, bytes.fromhex("07023f00"), None), id="extended_window_size"),
        pytest.param("7f28" + "55" * 40, Verdict(UNKNOWN, bytes.fromhex("7f00"), None), id="unknown_and_long"),
        pytest.param("0102 2000 0102 4000 0102 5000", Verdict(UNACCEPTABLE, b"\x01\x02\x30\x00", None), id="repeated"),
    ],
)
def test_judge(options: str, answer: Verdict) -> None:
    assert judge(bytes.fromhex(options), 48) == answer


@pytest.mark.parametrize(
    "options",
    [
        pytest.param("01", id="cve_2019_3459_half_a_header"),
        pytest.param("0102 40", id="cve_2019_3459_value_cut_off"),
        pytest.param("0101 40", id="cve_2019_3459_short_mtu"),
        pytest.param("0104 40000000", id="cve_2019_3459_long_mtu"),
        pytest.param("0400", id="cve_2026_64403_empty_mode"),
        pytest.param("04ff 03", id="cve_2026_64403_length_beyond_the_data"),
        pytest.param("0500", id="empty_fcs"),
    ],
)
def test_malformed(options: str) -> None:
    with pytest.raises(RemoteProtocolError):
        judge(bytes.fromhex(options), 48)


@given(st.binary(max_size=80), st.sampled_from([48, 672]))
def test_any_options_get_an_answer_that_fits(options: bytes, minimum: int) -> None:
    try:
        answer = judge(options, minimum)
    except RemoteProtocolError:
        return
    parse_options(answer.options)
    assert len(answer.options) <= 48 - 4 - 6
    assert answer.mtu is None or answer.mtu >= minimum
    assert answer.result == SUCCESS or answer.options


QOS_NO_TRAFFIC = QOS_BEST_EFFORT.replace("0316 00 01", "0316 00 00")
QOS_GUARANTEED = QOS_BEST_EFFORT.replace("0316 00 01", "0316 00 02")


def test_our_request() -> None:
    assert mtu_option(1691) == bytes.fromhex("01029b06")


@pytest.mark.parametrize(
    ("options", "mtu", "repeated"),
    [
        ("", None, ""),
        ("0102 3000", 48, ""),
        ("0409 03 3f 01 d007 e02e f203 0102 3000", 48, ""),  # a mode that we do not have
        (RFC_BASIC, None, RFC_BASIC),
        ("0202 ffff", None, "0202 ffff"),
        ("0202 1400 0102 3000", 48, "0202 1400"),
        ("0202 0000", None, ""),
        (QOS_BEST_EFFORT, None, QOS_BEST_EFFORT),
        (QOS_NO_TRAFFIC + "0202 ffff", None, QOS_NO_TRAFFIC + "0202 ffff"),
        (QOS_GUARANTEED, None, ""),
    ],
)
def test_what_the_peer_would_accept(options: str, mtu: int | None, repeated: str) -> None:
    assert counter_proposal(bytes.fromhex(options)) == (mtu, bytes.fromhex(repeated))
