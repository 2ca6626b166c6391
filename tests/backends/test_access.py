"""What is asked of policy, what is remembered, and what the log says of it."""

import pytest
import structlog.testing

from tests.support import air
from usbbtd.backends.access import Denied, TooOften
from usbbtd.radio.errors import Exhausted

ADDRESS = "C0:FF:EE:00:00:11"
PEER = air.octets(ADDRESS), 0
PSM = 0x1001
ONE_PEER = f"""
[[rule]]
guest = "work"
action = ["connect", "listen"]
peer = "{ADDRESS}"
verdict = "allow"
channels = 2
connects_per_minute = 3
"""


@pytest.fixture
def records():
    with structlog.testing.capture_logs() as captured:
        yield captured


def test_every_answer_is_a_record(records):
    access = air.access(ONE_PEER)
    access.connect(1, PEER, PSM, 0.0)
    with pytest.raises(Denied):
        access.connect(2, (PEER[0][::-1], 2), 0x80, 0.0)
    with pytest.raises(Denied):
        access.scan(3)
    access.listen(4, 0, 0x1003)
    with pytest.raises(Denied):
        access.offer(1, (PEER[0][::-1], 0), 0x1003)
    no_rule = "no rule matches, and what no rule allows is denied"
    allowed = {"log_level": "info", "event": "access granted", "rule": "policy.toml:2", "reason": "this rule allows it"}
    denied = {"log_level": "warning", "event": "access denied", "rule": "default", "reason": no_rule}
    assert records == [
        allowed | {"action": "connect", "addr": ADDRESS, "psm": PSM},
        denied | {"action": "connect", "addr": "11:00:00:EE:FF:C0", "psm": 0x80},
        denied | {"action": "scan"},
        allowed | {"action": "listen", "psm": 0x1003},
        denied | {"action": "listen", "addr": "11:00:00:EE:FF:C0", "psm": 0x1003},
    ]
    assert access.statistics() == {"access_granted": 2, "access_denied": 3, "access_revoked": 0}


def test_channels_of_a_rule_are_those_that_are_there(records):
    access = air.access(ONE_PEER)
    access.listen(9, 0, PSM)  # no channel
    access.connect(1, PEER, PSM, 0.0)
    access.offer(1, PEER, PSM)
    with pytest.raises(Exhausted, match="the guest has 2 channels by this rule"):
        access.connect(2, PEER, PSM, 0.0)
    with pytest.raises(Exhausted):
        access.offer(2, PEER, PSM)
    access.accept(1, 3)
    access.release(1)
    access.connect(2, PEER, PSM, 0.0)
    access.release(3)
    access.offer(4, PEER, PSM)
    access.release_offer(4)
    access.clear()
    access.offer(5, PEER, PSM)
    assert [record["event"] for record in records].count("access denied") == 2


def test_connects_in_any_minute(records):
    access = air.access(ONE_PEER.replace("channels = 2", ""))
    for number, now in enumerate((0.0, 30.0, 59.0)):
        access.connect(number, PEER, PSM, now)
    for now in (59.5, 59.999):  # what is refused does not count
        with pytest.raises(TooOften, match="the guest may connect 3 times in a minute by this rule, and has"):
            access.connect(9, PEER, PSM, now)
    access.connect(3, PEER, PSM, 60.0)
    with pytest.raises(TooOften):
        access.connect(9, PEER, PSM, 89.0)
    access.clear()  # a guest that connects its rings anew has not waited
    with pytest.raises(TooOften):
        access.connect(9, PEER, PSM, 89.0)
    access.connect(4, PEER, PSM, 90.0)


def test_limits_of_the_guest_come_from_tables_or_are_the_defaults(records):
    assert air.access().channels == 64
    limited = f'{air.ALLOW_ALL}[[limits]]\nguest = "work"\nchannels = 5\nunread_bytes = 5000\nconnects_per_minute = 1'
    access = air.access(limited)
    access.connect(1, PEER, PSM, 0.0)
    assert (access.channels, access.unread_bytes(1)) == (5, 5000)
    with pytest.raises(TooOften, match="the guest may connect 1 times in a minute, and has"):
        access.connect(2, PEER, PSM, 1.0)
    assert access.change(air.guest_policy()) == ([], [], [])
    assert (access.channels, access.unread_bytes(1)) == (64, 1 << 18)


def test_another_policy_names_what_it_does_not_allow(records):
    access = air.access()
    other = PEER[0][::-1], 0
    access.connect(1, PEER, PSM, 0.0)
    access.connect(2, other, PSM, 0.0)
    access.listen(3, 0, PSM)
    access.listen(4, 1, 0x80)
    access.scan(5)
    access.offer(6, other, PSM)
    access.offer(7, PEER, PSM)
    records.clear()
    assert access.change(air.guest_policy(f"{ONE_PEER}psm = {PSM}")) == ([2, 4, 5], [6], [])
    assert [(record["event"], record["action"], record["rule"]) for record in records] == [
        ("access revoked", action, "default") for action in ("connect", "listen", "scan", "listen")
    ]
    assert access.change(air.guest_policy("")) == ([1, 3], [7], [])
    assert access.change(air.guest_policy("")) == ([], [], [])
    assert access.statistics() == {"access_granted": 7, "access_denied": 0, "access_revoked": 7}


ECHO_RULE = f'''
[[rule]]
guest = "work"
action = "echo"
peer = "{ADDRESS}"
verdict = "allow"
connects_per_minute = 2
'''


def test_of_echoes_to_one_peer_one_a_minute_is_told_and_counts(records):
    access = air.access(ECHO_RULE)
    for number in range(100):
        access.echo(number, PEER, number / 2)
    assert [record["action"] for record in records] == ["echo"]
    assert records[0]["addr"] == ADDRESS
    access.echo(100, PEER, 60.0)
    access.echo(101, PEER, 119.0)
    assert len(records) == 2
    with pytest.raises(Denied):
        access.echo(102, (PEER[0][::-1], 0), 0.0)
    assert access.statistics() == {"access_granted": 2, "access_denied": 1, "access_revoked": 0}


def test_echoes_to_many_peers_count_like_connects(records):
    access = air.access(ECHO_RULE.replace(f'peer = "{ADDRESS}"', ""))
    peers = [(bytes([number] * 6), 0) for number in range(3)]
    for number in range(2):
        access.echo(number, peers[number], 0.0)
        access.echo(number, peers[number], 1.0)
    with pytest.raises(TooOften):
        access.echo(9, peers[2], 59.0)
    access.clear()
    with pytest.raises(TooOften):
        access.echo(9, peers[2], 59.0)
    access.echo(9, peers[2], 60.0)


def test_echoes_that_another_policy_does_not_allow(records):
    access = air.access()
    for number, address in enumerate((PEER[0], PEER[0][::-1], PEER[0])):
        access.echo(number, (address, 0), 0.0)
    access.release_echo(2)
    access.release_echo(2)
    assert access.change(air.guest_policy(ECHO_RULE)) == ([], [], [1])
    assert access.change(air.guest_policy("")) == ([], [], [0])
