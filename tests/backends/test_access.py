"""What is asked of policy, what is remembered, and what the log says of it."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import structlog.testing

from tests.support import air
from usbbtd.backends.access import BOND_OF_OTHERS, Denied, TooOften
from usbbtd.bluetooth import LEVEL_AUTHENTICATED, LEVEL_ENCRYPTED, LEVEL_NONE, LEVEL_SECURE
from usbbtd.policy.rules import DEFAULT
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


FIXED_AND_BONDED = """
[[rule]]
guest = "work"
action = ["connect", "listen"]
peer = "bonded"
verdict = "allow"

[[rule]]
guest = "work"
action = "agent"
peer = "C0:FF:EE:00:00:11"
security = "authenticated"
connects_per_minute = 1
verdict = "allow"

[[rule]]
guest = "work"
action = ["connect", "listen"]
security = "secure"
cid = 4
spsm = 0x80
verdict = "allow"
"""


def test_a_channel_is_admitted_on_a_link_that_is_secure_enough(records: list[Any]) -> None:
    access = air.access(FIXED_AND_BONDED)
    le = PEER[0], 2
    weak, strong = access.connect_fixed(le, 4, 0.0), access.offer(le, 0x80)
    assert (weak.security, weak.needs_bond, access.may_offer(le, 0x80)) == (LEVEL_SECURE, False, LEVEL_SECURE)
    with pytest.raises(Denied, match="this rule wants security 'secure', and the link has 'authenticated'"):
        weak.admit(LEVEL_AUTHENTICATED, is_bonded=True)
    strong.admit(LEVEL_SECURE, is_bonded=False)
    assert [(record["event"], record.get("cid"), record.get("psm")) for record in records] == [
        ("access granted", 4, None), ("access granted", None, 0x80), ("access denied", 4, None),
    ]  # fmt: skip
    assert (weak.open, strong.open, access.open_grants) == (False, True, 1)


def test_what_a_bond_allows_is_for_who_has_its_key(records: list[Any]) -> None:
    bonds = {PEER}
    access = air.access(FIXED_AND_BONDED, is_bonded=lambda peer: peer in bonds or None)
    with pytest.raises(Denied):
        access.connect((PEER[0][::-1], 0), PSM, 0.0)
    forged, proven, waiting = access.connect(PEER, PSM, 0.0), access.offer(PEER, PSM), access.connect(PEER, PSM, 0.0)
    assert (forged.security, forged.needs_bond) == (LEVEL_ENCRYPTED, True)
    with pytest.raises(Denied, match="this rule wants the key of the bond, and the link is not encrypted with it"):
        forged.admit(LEVEL_SECURE, is_bonded=False)
    proven.admit(LEVEL_ENCRYPTED, is_bonded=True)
    assert review(access, FIXED_AND_BONDED, [proven, waiting]) == []
    higher = FIXED_AND_BONDED.replace('peer = "bonded"', 'peer = "bonded"\nsecurity = "authenticated"')
    assert review(access, higher, [proven, waiting]) == [0]
    assert records[-1]["reason"] == "this rule wants security 'authenticated', and the link has 'encrypted'"
    bonds.clear()
    assert review(access, higher, [waiting]) == [0]
    assert access.open_grants == 0


NAMED_OR_ANY = """
[[rule]]
guest = "work"
action = "any"
peer = "C0:FF:EE:00:00:11"
verdict = "allow"

[[rule]]
guest = "work"
action = "any"
peer = "any"
verdict = "allow"

[[rule]]
guest = "lab"
action = "any"
peer = "any"
security = "encrypted"
verdict = "allow"
"""
OTHER = bytes(5) + b"\xc0", 0


def test_a_bond_of_other_guests_is_used_only_where_a_rule_names_the_peer(records: list[Any]) -> None:
    access = air.access(NAMED_OR_ANY, is_bonded=lambda _: False)
    access.connect(PEER, PSM, 0.0, LEVEL_SECURE).admit(LEVEL_SECURE, is_bonded=True)
    access.offer(PEER, PSM, LEVEL_ENCRYPTED)
    access.pair(PEER, 0.0)
    # Nobody is asked for a key here, though the link may happen to be encrypted with one.
    access.connect(OTHER, PSM, 0.0, LEVEL_NONE).admit(LEVEL_SECURE, is_bonded=True)
    access.offer(OTHER, PSM)
    access.echo(OTHER, 0.0)
    records.clear()
    requests: list[Callable[[], Any]] = [
        lambda: access.connect(OTHER, PSM, 0.0, LEVEL_ENCRYPTED),
        lambda: access.connect_fixed(OTHER, 4, 0.0, LEVEL_ENCRYPTED),
        lambda: access.offer(OTHER, PSM, LEVEL_ENCRYPTED),
        lambda: access.pair(OTHER, 0.0),
    ]
    for request in requests:
        with pytest.raises(Denied, match="the peer is bonded, but not for this guest"):
            request()
    assert [(record["event"], record["rule"]) for record in records] == [("access denied", "policy.toml:8")] * 4
    assert [access.pairing(peer).allowed for peer in (PEER, OTHER)] == [True, False]


def test_a_rule_may_want_the_key_of_a_bond_of_other_guests(records: list[Any]) -> None:
    rules = NAMED_OR_ANY.replace('"lab"', '"work"').split("[[rule]]")
    access = air.access("[[rule]]" + rules[-1], is_bonded={PEER: True, OTHER: False}.get)
    access.connect(PEER, PSM, 0.0)
    for request in (access.connect, access.connect_fixed):
        with pytest.raises(Denied):
            request(OTHER, 4, 0.0)
    stranger = PEER[0], 2
    access.connect(stranger, 0x80, 0.0).admit(LEVEL_ENCRYPTED, is_bonded=False)


def test_who_may_not_come_is_known_before_anything_is_done_for_it(records: list[Any]) -> None:
    """What a bond allows is possible: the peer may still show that it has the key."""
    bonds = {PEER: True}
    access = air.access(FIXED_AND_BONDED, is_bonded=bonds.get)
    assert access.may_offer(PEER, PSM) == LEVEL_ENCRYPTED
    assert (records, access.open_grants) == ([], 0)
    bonds[PEER] = False
    for peer in (PEER, OTHER):
        with pytest.raises(Denied):
            access.may_offer(peer, PSM)
    access = air.access(NAMED_OR_ANY, is_bonded=lambda _: False)
    access.may_offer(PEER, PSM, LEVEL_ENCRYPTED)
    access.may_offer(OTHER, PSM)
    with pytest.raises(Denied):
        access.may_offer(OTHER, PSM, LEVEL_ENCRYPTED)
    assert [(record["event"], record["action"], record["reason"]) for record in records] == [
        ("access denied", "listen", DEFAULT.reason), ("access denied", "listen", DEFAULT.reason),
        ("access denied", "listen", BOND_OF_OTHERS),
    ]  # fmt: skip


def test_a_bond_that_others_make_meanwhile_is_theirs(records: list[Any]) -> None:
    bonds: dict[Any, bool] = {}
    access = air.access(is_bonded=bonds.get)
    opening, held, plain = (access.connect(OTHER, PSM, 0.0, level) for level in (2, 2, 1))
    for grant in (held, plain):
        grant.admit(LEVEL_ENCRYPTED, is_bonded=False)
    bonds[OTHER] = False
    with pytest.raises(Denied, match="the peer is bonded, but not for this guest"):
        opening.admit(LEVEL_ENCRYPTED, is_bonded=True)
    assert (opening.open, records[-1]["event"]) == (False, "access denied")
    assert review(access, air.ALLOW_ALL, [held, plain]) == [0]
    assert (records[-1]["event"], records[-1]["reason"]) == ("access revoked", BOND_OF_OTHERS)


def test_pairing_is_granted_to_agents(records: list[Any]) -> None:
    access = air.access(FIXED_AND_BONDED)
    assert access.agent().security == LEVEL_AUTHENTICATED
    grant = access.pair(PEER, 0.0)
    assert (grant.security, grant.is_channel) == (LEVEL_AUTHENTICATED, False)
    with pytest.raises(TooOften):
        access.pair(PEER, 1.0)
    with pytest.raises(Denied):
        access.pair((PEER[0][::-1], 0), 0.0)
    count = len(records)
    assert [access.pairing((address, 0)).allowed for address in (PEER[0], PEER[0][::-1])] == [True, False]
    assert len(records) == count
    with pytest.raises(Denied):
        air.access(ONE_PEER).agent()


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


def test_a_peer_with_a_private_address_is_judged_by_its_identity(records: list[Any]) -> None:
    private, other = (air.octets("40:00:00:00:00:01"), 2), (air.octets(air.PEER_LE_ADDRESS), 2)
    denied = f'[[rule]]\nguest = "any"\npeer = "{air.PEER_LE_ADDRESS}"\naction = "any"\nverdict = "deny"\n'
    access = air.access(denied + air.ALLOW_ALL)
    grant = access.connect(private, 0x80, 0.0)
    access.identify(grant, private)
    assert grant.request.peer == private
    with pytest.raises(Denied):
        access.identify(grant, other)
    assert (grant.open, access.open_grants) == (False, 0)
    assert [(record["event"], record["addr"]) for record in records] == [
        ("access granted", "40:00:00:00:00:01"), ("access revoked", air.PEER_LE_ADDRESS),
    ]  # fmt: skip
    allowed = access.connect(private, 0x80, 0.0)
    access.identify(allowed, (air.octets(air.NOBODY), 2))
    assert allowed.open
