"""What is asked of policy, what is remembered, and what the log says of it."""

from collections.abc import Iterator
from typing import Any

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
def records() -> Iterator[list[Any]]:
    with structlog.testing.capture_logs() as captured:
        yield captured


def test_every_answer_is_a_record(records: list[Any]) -> None:
    access = air.access(ONE_PEER)
    access.connect(PEER, PSM, 0.0)
    with pytest.raises(Denied):
        access.connect((PEER[0][::-1], 2), 0x80, 0.0)
    with pytest.raises(Denied):
        access.scan()
    access.listen(0, 0x1003)
    with pytest.raises(Denied):
        access.offer((PEER[0][::-1], 0), 0x1003)
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


def test_channels_of_a_rule_are_those_that_are_there(records: list[Any]) -> None:
    access = air.access(ONE_PEER)
    access.listen(0, PSM)  # no channel
    connected, offered = access.connect(PEER, PSM, 0.0), access.offer(PEER, PSM)
    with pytest.raises(Exhausted, match="the guest has 2 channels by this rule"):
        access.connect(PEER, PSM, 0.0)
    with pytest.raises(Exhausted):
        access.offer(PEER, PSM)
    for _ in range(2):
        connected.close()
    access.connect(PEER, PSM, 0.0)
    with pytest.raises(Exhausted):
        access.connect(PEER, PSM, 0.0)
    offered.close()
    last = access.offer(PEER, PSM)
    assert access.open_grants == 3
    access.clear()
    last.close()  # it was forgotten
    assert access.open_grants == 0
    access.offer(PEER, PSM)
    assert [record["event"] for record in records].count("access denied") == 3


def test_connects_in_any_minute(records: list[Any]) -> None:
    access = air.access(ONE_PEER.replace("channels = 2", ""))
    for now in (0.0, 30.0, 59.0):
        access.connect(PEER, PSM, now)
    for now in (59.5, 59.999):  # what is refused does not count
        with pytest.raises(TooOften, match="the guest may connect 3 times in a minute by this rule, and has"):
            access.connect(PEER, PSM, now)
    access.connect(PEER, PSM, 60.0)
    with pytest.raises(TooOften):
        access.connect(PEER, PSM, 89.0)
    access.clear()  # a guest that connects its rings anew has not waited
    with pytest.raises(TooOften):
        access.connect(PEER, PSM, 89.0)
    access.connect(PEER, PSM, 90.0)


def test_limits_of_the_guest_come_from_tables_or_are_the_defaults(records: list[Any]) -> None:
    assert air.access().channels == 64
    limited = f'{air.ALLOW_ALL}[[limits]]\nguest = "work"\nchannels = 5\nunread_bytes = 5000\nconnects_per_minute = 1'
    access = air.access(limited)
    grant = access.connect(PEER, PSM, 0.0)
    assert (access.channels, grant.unread_bytes) == (5, 5000)
    with pytest.raises(TooOften, match="the guest may connect 1 times in a minute, and has"):
        access.connect(PEER, PSM, 1.0)
    access.change(air.guest_policy())
    assert access.review(grant)
    assert (access.channels, grant.unread_bytes) == (64, 1 << 18)


def review(access: Any, policy: Any, grants: Any) -> Any:
    """The indices of grants that another policy does not allow."""
    access.change(air.guest_policy(policy))
    return [number for number, grant in enumerate(grants) if not access.review(grant)]


def test_another_policy_does_not_allow_all(records: list[Any]) -> None:
    access = air.access()
    other = PEER[0][::-1], 0
    grants = [
        access.connect(PEER, PSM, 0.0),
        access.connect(other, PSM, 0.0),
        access.listen(0, PSM),
        access.listen(1, 0x80),
        access.scan(),
        access.offer(other, PSM),
        access.offer(PEER, PSM),
    ]
    records.clear()
    assert review(access, f"{ONE_PEER}psm = {PSM}", grants) == [1, 3, 4, 5]
    with pytest.raises(Exhausted):  # they count by the rule that allows them now
        access.offer(PEER, PSM)
    records.pop()
    assert [(record["event"], record["action"], record["rule"]) for record in records] == [
        ("access revoked", action, "default") for action in ("connect", "listen", "scan", "listen")
    ]
    assert review(access, "", grants) == [0, 2, 6]
    assert review(access, "", grants) == []
    assert (access.open_grants, access.statistics()) == (
        0, {"access_granted": 7, "access_denied": 1, "access_revoked": 7},
    )  # fmt: skip


ECHO_RULE = f'''
[[rule]]
guest = "work"
action = "echo"
peer = "{ADDRESS}"
verdict = "allow"
connects_per_minute = 2
'''


def test_of_echoes_to_one_peer_one_a_minute_is_told_and_counts(records: list[Any]) -> None:
    access = air.access(ECHO_RULE)
    for number in range(100):
        access.echo(PEER, number / 2)
    assert [record["action"] for record in records] == ["echo"]
    assert records[0]["addr"] == ADDRESS
    access.echo(PEER, 60.0)
    access.echo(PEER, 119.0)
    assert len(records) == 2
    with pytest.raises(Denied):
        access.echo((PEER[0][::-1], 0), 0.0)
    assert access.statistics() == {"access_granted": 2, "access_denied": 1, "access_revoked": 0}


def test_echoes_to_many_peers_count_like_connects(records: list[Any]) -> None:
    access = air.access(ECHO_RULE.replace(f'peer = "{ADDRESS}"', ""))
    peers = [(bytes([number] * 6), 0) for number in range(3)]
    for number in range(2):
        access.echo(peers[number], 0.0)
        access.echo(peers[number], 1.0)
    with pytest.raises(TooOften):
        access.echo(peers[2], 59.0)
    access.clear()
    with pytest.raises(TooOften):
        access.echo(peers[2], 59.0)
    access.echo(peers[2], 60.0)


def test_echoes_that_another_policy_does_not_allow(records: list[Any]) -> None:
    access = air.access()
    grants = [access.echo((address, 0), 0.0) for address in (PEER[0], PEER[0][::-1], PEER[0])]
    grants[2].close()
    assert review(access, ECHO_RULE, grants) == [1]
    assert review(access, "", grants) == [0]
