"""What an administrator writes, and what is told where it cannot be."""

from __future__ import annotations

import contextlib
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests import ROOT
from usbbtd.bluetooth import LEVEL_SECURE
from usbbtd.policy.files import MAX_TABLES, compile_policy, load
from usbbtd.policy.rules import ACTIONS, Policy, Rule, RuleLimits
from usbbtd.tomlfile import ConfigError, parse_document

ADDRESS = "C0:FF:EE:00:00:11"
OCTETS = bytes.fromhex("110000eeffc0")
EXAMPLES = ROOT / "etc" / "policy.d"
RULE = '[[rule]]\nguest = "work"\naction = "connect"\nverdict = "allow"\n'


def read(text: str) -> Policy:
    return compile_policy([parse_document(text, "x.toml")])


def rule_of(text: str) -> Rule:
    (rule,) = read(text).rules
    return rule


def error_of(text: str) -> str:
    with pytest.raises(ConfigError) as caught:
        read(text)
    return str(caught.value)


def test_a_rule_with_everything() -> None:
    rule = rule_of(
        "# one\n[[rule]]\nguest = ['work', '7', 8, 'tag:headset']\naction = ['connect', 'listen']\n"
        f"peer = ['{ADDRESS}/random', '{ADDRESS.lower()}/bredr', 'bonded']\n"
        "psm = ['0x1001', 4099, '0x1201 - 0x12ff']\nspsm = 0x80\ncid = 4\nverdict = 'allow'\n"
        "security = 'secure'\nchannels = 2\nunread_bytes = 4096\nconnects_per_minute = 0"
    )
    assert rule == Rule(
        where="x.toml:2",
        guests=frozenset({"work", 7, 8, "tag:headset"}),
        actions=frozenset({"connect", "listen"}),
        peers=frozenset({(OCTETS, 2), (OCTETS, 0)}),
        bonded=True,
        services=(
            ("psm", range(0x1001, 0x1002)), ("psm", range(0x1003, 0x1004)), ("psm", range(0x1201, 0x1300)),
            ("spsm", range(0x80, 0x81)), ("cid", range(4, 5)),
        ),
        allows=True,
        security=LEVEL_SECURE,
        limits=RuleLimits(2, 4096, 0),
    )  # fmt: skip


def test_what_is_left_out_does_not_matter() -> None:
    rule = rule_of('[[rule]]\nguest = "any"\naction = "any"\nverdict = "deny"')
    assert rule == Rule("x.toml:1", None, frozenset(ACTIONS), None, False, None, False)
    assert rule_of(f'{RULE}peer = "{ADDRESS}"').peers == frozenset((OCTETS, kind) for kind in (0, 1, 2))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[[rule]]", "x.toml:1: rule.guest: is missing"),
        ("[[rules]]", "x.toml:1: rules: no such key; is rule meant?"),
        ("[rule]\nguest = 1", "x.toml:1: rule: should be a valid list"),
        (f"{RULE}\nPSM = 1", "x.toml:6: rule.PSM: no such key"),
        (f"{RULE}\n[[rule]]\nguest = []", "x.toml:7: rule.guest: an empty list matches nothing"),
        (f"{RULE}psm = []", "x.toml:5: rule.psm: an empty list matches nothing"),
        ("[[rule]]\nguest = [1, 'any']", "x.toml:2: rule.guest: \"any\" stands alone"),
        ("[[rule]]\nguest = ''", "x.toml:2: rule.guest: '' is no guest: write a name, a domid, or"),
        ("[[rule]]\nguest = [[1]]", "x.toml:2: rule.guest: [1] is no guest"),
        ("[[rule]]\nguest = true", "x.toml:2: rule.guest: True is no guest"),
        ("[[rule]]\nguest = 32752", "x.toml:2: rule.guest: 32752 is no domid"),
        ("[[rule]]\nguest = 'tag:a b'", "x.toml:2: rule.guest: 'a b' is no tag"),
        ("[[rule]]\nguest = 1\naction = 'conect'", "x.toml:3: rule.action: 'conect' is no action, only connect, l"),
        ("[[rule]]\nguest = 1\naction = 'scan'\nverdict = 'alow'", "x.toml:4: rule.verdict: should be 'allow' or"),
        (f"{RULE}peer = 'C0:FF'", "x.toml:5: rule.peer: 'C0:FF' is not a Bluetooth address"),
        (f"{RULE}peer = '{ADDRESS}/le'", "x.toml:5: rule.peer: 'le' is no type of address, only bredr, public, random"),
        (f"{RULE}peer = 3", "x.toml:5: rule.peer: 3 is no peer"),
        (f"{RULE}psm = 0x80", "x.toml:5: rule.psm: 0x0080 is no PSM: the lowest bit is 1, that of the upper octet"),
        (f"{RULE}psm = '0x1100-0x11ff'", "x.toml:5: rule.psm: no number from 0x1100 to 0x11ff is a PSM"),
        (f"{RULE}psm = 0x0101", "x.toml:5: rule.psm: 0x0101 is no PSM"),
        (f"{RULE}psm = '0x10001'", "x.toml:5: rule.psm: '0x10001' is no number: write it like 0x1001"),
        (f"{RULE}psm = 1.0", "x.toml:5: rule.psm: 1.0 is no number"),
        (f"{RULE}psm = '0x1003-0x1001'", "x.toml:5: rule.psm: '0x1003-0x1001' ends before it begins"),
        (f"{RULE}psm = '0x1003-'", "x.toml:5: rule.psm: '' is no number"),
        (f"{RULE}spsm = 0x1001", "x.toml:5: rule.spsm: 0x1001 is not between 0x0001 and 0x00ff; is psm meant?"),
        (f"{RULE}cid = 0x40", "x.toml:5: rule.cid: 0x0040 is not between 0x0001 and 0x003f"),
        (f"{RULE}peer = '{ADDRESS}/random'\npsm = 1", "x.toml:6: rule.psm: a peer with an address of this type has an"),
        (f"{RULE}peer = '{ADDRESS}/bredr'\nspsm = 1", "x.toml:6: rule.spsm: a peer with an address of this type has a"),
        ("[[rule]]\nguest = 1\naction = ['scan', 'connect']\nverdict = 'deny'\npsm = 1", "x.toml:5: rule.psm: scan"),
        (f"{RULE.replace('connect', 'agent')}peer = '{ADDRESS}'\nspsm = 1", "x.toml:6: rule.spsm: agent has no spsm"),
        (f"{RULE.replace('connect', 'echo')}psm = 1", "x.toml:5: rule.psm: echo has no psm"),
        (f"{RULE.replace('connect', 'echo')}peer = '{ADDRESS}/random'", "x.toml:5: rule.peer: echo is of BR/EDR, and"),
        (f"{RULE.replace('allow', 'deny')}security = 'secure'", "x.toml:5: rule.security: what is denied needs none"),
        (f"{RULE.replace('allow', 'deny')}channels = 1", "x.toml:4: rule.verdict: what is denied has no channels"),
        (f"{RULE.replace('connect', 'scan')}channels = 1", "x.toml:3: rule.action: channels and unread_bytes are"),
        (f"{RULE.replace('connect', 'listen')}connects_per_minute = 1", "x.toml:3: rule.action: connects_per_minute"),
        (f"{RULE.replace('connect', 'scan')}security = 'secure'", "x.toml:5: rule.security: it is of connect, listen"),
        (f"{RULE}legacy_pin = true", "x.toml:5: rule.legacy_pin: it is of agent"),
        (
            f"{RULE.replace('connect', 'agent').replace('allow', 'deny')}legacy_pin = true",
            "x.toml:5: rule.legacy_pin: what is denied needs none",
        ),
        (
            f"{RULE.replace('connect', 'agent')}security = 'secure'\nlegacy_pin = true",
            "x.toml:6: rule.legacy_pin: a PIN does not reach this security",
        ),
        (f"{RULE.replace('connect', 'listen')}cid = 4", "x.toml:5: rule.cid: nobody listens on a fixed channel"),
        (f"{RULE}security = 'high'", "x.toml:5: rule.security: should be 'none', 'encrypted', 'authenticated' or"),
        (f"{RULE}unread_bytes = 1", "x.toml:5: rule.unread_bytes: should be greater than or equal to 4096"),
        ("[[limits]]\nguest = 'any'\nchanels = 1", "x.toml:3: limits.chanels: no such key; is channels meant?"),
        ("[[limits]]\nchannels = 1", "x.toml:1: limits.guest: is missing"),
        ("[[rule]\n", "x.toml:1: "),
    ],
)  # fmt: skip
def test_mistakes_name_file_line_and_key(text: str, message: str) -> None:
    assert error_of(text).splitlines()[0].startswith(message)


def test_files_are_read_in_the_order_of_their_names(tmp_path: Path) -> None:
    (tmp_path / "20.toml").write_text(RULE)
    (tmp_path / "10.toml").write_text(f"\n{RULE}{RULE}[[limits]]\nguest = 'any'\nchannels = 3")
    (tmp_path / "30.toml.bak").write_text("nonsense")
    policy = load(tmp_path)
    assert [rule.where for rule in policy.rules] == [
        f"{tmp_path}/10.toml:2", f"{tmp_path}/10.toml:6", f"{tmp_path}/20.toml:1",
    ]  # fmt: skip
    assert [table.limits.channels for table in policy.tables] == [3]


def test_every_mistake_of_every_file_is_told(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / f"{name}.toml").write_text("[[rule]]\nguest = 1\naction = 'x'\nverdict = 'y'")
    with pytest.raises(ConfigError) as caught:
        load(tmp_path)
    assert [line.split(": ")[:2] for line in str(caught.value).splitlines()] == [
        [f"{tmp_path}/{name}.toml:{line}", key]
        for name in ("a", "b")
        for line, key in ((3, "rule.action"), (4, "rule.verdict"))
    ]
    (tmp_path / "c.toml").write_bytes(b"\xff")
    with pytest.raises(ConfigError, match=r"c\.toml: not UTF-8 text"):
        load(tmp_path)


def test_without_a_directory_there_are_no_rules(tmp_path: Path) -> None:
    assert load(tmp_path / "none") == Policy()
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="file: Not a directory"):
        load(tmp_path / "file")


def test_too_many_rules_are_refused_before_they_are_looked_at(tmp_path: Path) -> None:
    for name, count in (("a", MAX_TABLES - 1), ("b", 1), ("c", 1)):
        (tmp_path / f"{name}.toml").write_text("[[rule]]\n" * (count - 1) + "[[limits]]\n")
    with pytest.raises(ConfigError) as error:
        load(tmp_path)
    said = f"{tmp_path}/c.toml: {MAX_TABLES + 1} rules and limits with the files before it, over {MAX_TABLES}"
    assert error.value.mistakes == (said,)
    (tmp_path / "c.toml").unlink()
    with pytest.raises(ConfigError, match="is missing"):
        load(tmp_path)


@pytest.mark.parametrize("steps", range(6))
def test_what_proceed_raises_ends_the_reading_at_the_next_step(tmp_path: Path, steps: int) -> None:
    for name in "ab":
        (tmp_path / f"{name}.toml").write_text('[[rule]]\nguest = "x"\naction = "any"\nverdict = "allow"\n')
    calls = iter(range(steps))
    with pytest.raises(StopIteration):
        load(tmp_path, lambda: next(calls))


def test_the_shipped_example_allows_nothing_until_its_lines_are_used(tmp_path: Path) -> None:
    assert load(EXAMPLES) == Policy()
    (example,) = EXAMPLES.iterdir()
    lines = example.read_text().splitlines()
    (tmp_path / example.name).write_text("\n".join(line.removeprefix("#") for line in lines if line[:2] != "# "))
    policy = load(tmp_path)
    assert len(policy.rules) >= 2
    assert len(policy.tables) == 1


_VALUES = st.one_of(
    st.sampled_from(
        ["any", "bonded", "work", "tag:x", ADDRESS, f"{ADDRESS}/random", "connect", "scan", "allow", "deny"]
    ),
    st.integers(-1, 70_000),
    st.booleans(),
    st.text(max_size=8),
)
_KEYS = ["guest", "action", "peer", "psm", "spsm", "cid", "verdict", "security", "channels", "x"]


def _toml(value: object) -> str:
    if isinstance(value, list):
        return f"[{', '.join(map(_toml, value))}]"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int):
        return str(value)
    return '"' + "".join(f"\\U{ord(character):08x}" for character in str(value)) + '"'


@given(st.lists(st.dictionaries(st.sampled_from(_KEYS), _VALUES | st.lists(_VALUES, max_size=3)), max_size=4))
def test_any_table_is_a_rule_or_a_mistake_with_its_line(tables: list[dict[str, object]]) -> None:
    text = ""
    for table in tables:
        text += "[[rule]]\n" + "".join(f"{key} = {_toml(value)}\n" for key, value in table.items())
    try:
        assert len(read(text).rules) == len(tables)
    except ConfigError as error:
        lines = text.splitlines()
        for mistake in str(error).splitlines():
            name, line, _ = mistake.split(":", 2)
            assert name == "x.toml"
            assert 1 <= int(line) <= len(lines)


@given(st.binary())
def test_any_bytes_are_a_policy_or_a_mistake_that_names_the_file(content: bytes) -> None:
    with tempfile.TemporaryDirectory() as directory:
        file = Path(directory, "x.toml")
        file.write_bytes(content)
        with contextlib.suppress(ConfigError):
            load(file.parent)
            return
        with pytest.raises(ConfigError, match=rf"^{file}:"):
            load(file.parent)
