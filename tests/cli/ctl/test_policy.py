"""usbbtctl policy, which needs neither a daemon nor Xen."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from usbbtd.cli import daemon
from usbbtd.cli.ctl import main

ADDRESS = "C0:FF:EE:00:00:11"
POLICY = f"""\
[[rule]]
guest = ["work", 7]
action = "connect"
peer = "{ADDRESS}/bredr"
psm = 0x1001
verdict = "allow"
channels = 2

[[rule]]
guest = "work"
action = "listen"
verdict = "deny"

[[rule]]
guest = "tag:sensors"
action = ["connect", "listen"]
spsm = 0x80
verdict = "allow"

[[rule]]
guest = "any"
action = "scan"
verdict = "allow"

[[rule]]
guest = "tag:desktop"
action = "connect"
peer = "bonded"
psm = 0x11
verdict = "allow"
security = "authenticated"

[[limits]]
guest = "any"
connects_per_minute = 30
"""


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    (tmp_path / "10.toml").write_text(POLICY)
    return tmp_path


def explain(directory: Path, *words: str) -> int:
    return main(["policy", "explain", *words, "--directory", str(directory)])


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        (["work", "connect", ADDRESS, "0x1001"], 0, "allowed by {}:1: this rule allows it"),
        (["7", "connect", ADDRESS, "4097"], 0, "allowed by {}:1: this rule allows it"),
        (["other", "connect", ADDRESS, "4097", "--domid", "7"], 0, "allowed by {}:1: this rule allows it"),
        (
            ["work", "connect", ADDRESS, "0x1003"],
            1,
            "denied by default: no rule matches, and what no rule allows is den",
        ),
        (["work", "connect", f"{ADDRESS}/random", "0x80"], 1, "denied by default: "),
        (["x", "connect", f"{ADDRESS}/random", "0x80", "--tags", "a", "sensors"], 0, "allowed by {}:14: "),
        (["work", "listen", "any", "0x1001"], 1, "denied by {}:9: this rule denies it"),
        (["x", "listen", "any/random", "0x80", "--tags", "sensors"], 0, "allowed by {}:14: "),
        (["x", "listen", "any", "0x1001", "--tags", "sensors"], 1, "denied by default: "),
        (["x", "connect", ADDRESS, "cid:4"], 1, "denied by default: "),
        (["x", "agent", ADDRESS], 1, "denied by default: "),
        (["work", "echo", ADDRESS], 0, "allowed by {}:1: this rule allows it"),
        (["work", "echo", "C0:FF:EE:00:00:12"], 1, "denied by default: "),
        (["x", "scan"], 0, "allowed by {}:20: this rule allows it"),
        (["x", "connect", ADDRESS, "0x11", "--tags", "desktop"], 1, "denied by default: "),
        (
            ["x", "connect", ADDRESS, "0x11", "--tags", "desktop", "--bonded"],
            0,
            "allowed by {}:25: this rule allows it with the bond's key and security 'authenticated' at least\n",
        ),
    ],
)
def test_explain_names_the_line_and_the_reason(
    directory: Path, capsys: pytest.CaptureFixture[str], words: list[str], status: int, said: str
) -> None:
    assert explain(directory, *words) == status
    output, errors = capsys.readouterr()
    assert output.startswith(said.format(directory / "10.toml"))
    assert errors == ""


def test_explain_says_why_earlier_rules_do_not_decide(directory: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = directory / "10.toml"
    assert explain(directory, "work", "connect", "C0:FF:EE:00:00:12", "0x1001") == 1
    assert capsys.readouterr().out.splitlines()[1:] == [
        f"  {file}:1 is about this guest, but about another peer",
        f"  {file}:9 is about this guest, but about another action",
        f"  {file}:20 is about this guest, but about another action",
    ]
    assert explain(directory, "work", "echo", "C0:FF:EE:00:00:12") == 1
    assert f"{file}:1 is about this guest, but about another peer" in capsys.readouterr().out
    explain(directory, "work", "connect", ADDRESS, "0x1003")
    assert f"{file}:1 is about this guest, but about another PSM" in capsys.readouterr().out


def test_explain_says_what_the_link_has_to_be(directory: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["work", "connect", ADDRESS, "0x11", "--tags", "desktop", "--bonded"]
    assert explain(directory, *words) == 0
    said = "  the link has to be encrypted, by a pairing that nobody in the middle can have made"
    assert capsys.readouterr().out.splitlines()[1] == said
    assert explain(directory, *words, "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["security"], told["bond"]) == ("authenticated", True)


def test_explain_says_where_a_bond_of_others_is_in_the_way(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rule = '[[rule]]\nguest = "any"\naction = "{}"\npeer = "{}"\nsecurity = "{}"\nverdict = "allow"\n'
    said = "a bond that is not this guest's"
    for action, peer, security, *options in (
        ("connect", "any", "encrypted"), ("agent", "any", "none"), ("connect", ADDRESS, "secure"),
        ("connect", "any", "none"), ("agent", ADDRESS, "none"), ("agent", "any", "none", "--bonded"),
    ):  # fmt: skip
        (tmp_path / "10.toml").write_text(rule.format(action, peer, security))
        operands = [ADDRESS, "0x1001"] if action == "connect" else [ADDRESS]
        assert explain(tmp_path, "work", action, *operands, *options) == 0
        in_the_way = peer == "any" and (action == "agent" or security == "encrypted") and not options
        assert (said in capsys.readouterr().out) is in_the_way


def test_explain_for_programs(directory: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert explain(directory, "work", "connect", ADDRESS, "0x1001", "--json") == 0
    assert json.loads(capsys.readouterr().out) == {
        "allowed": True,
        "rule": f"{directory}/10.toml:1",
        "reason": "this rule allows it",
        "security": "none",
        "bond": False,
        "names_peer": True,
        "limits": {"guest": {"connects_per_minute": 30}, "rule": {"channels": 2}},
    }
    assert explain(directory, "x", "advertise", "--json") == 1
    assert json.loads(capsys.readouterr().out)["rule"] is None


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["work", "connect"], "connect takes ADDRESS and PSM"),
        (["work", "scan", ADDRESS], "scan takes neither ADDRESS nor PSM"),
        (["work", "agent"], "agent takes ADDRESS"),
        (["work", "echo", f"{ADDRESS}/random"], "echo is of BR/EDR, and this address is of LE"),
        (["work", "connect", "any", "0x1001"], "connect takes the address of a peer"),
        (["work", "connect", "C0", "0x1001"], "'C0' is not a Bluetooth address"),
        (["work", "connect", f"{ADDRESS}/le", "0x1001"], "'le' is no type of address"),
        (["work", "connect", ADDRESS, "0x80"], "0x0080 is no PSM"),
        (["work", "connect", f"{ADDRESS}/public", "0x1001"], "0x1001 is not between 0x0001 and 0x00ff"),
        (["work", "scan", "--tags", "a/b"], "'a/b' is no tag"),
    ],
)
def test_questions_that_are_none(
    directory: Path, capsys: pytest.CaptureFixture[str], words: list[str], said: str
) -> None:
    assert explain(directory, *words) == 2
    assert capsys.readouterr().err.startswith(f"usbbtctl: {said}")


def test_check(directory: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["policy", "check", str(directory)]) == 0
    assert capsys.readouterr() == ("5 rules, 4 of them to allow something; 1 table of limits\n", "")
    assert main(["policy", "check", str(directory), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"rules": 5, "allow": 4, "limits": 1}
    (directory / "none").mkdir()
    assert main(["policy", "check", str(directory / "none")]) == 0
    assert capsys.readouterr().err == "usbbtctl: no guest may do anything\n"


def test_one_is_no_plural(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "one.toml").write_text("[[rule]]\nguest = 'any'\naction = 'scan'\nverdict = 'allow'\n")
    assert main(["policy", "check", str(tmp_path)]) == 0
    assert capsys.readouterr().out == "1 rule, 1 of them to allow something; 0 tables of limits\n"


@pytest.mark.parametrize("words", [["check"], ["explain", "work", "scan", "--directory"]])
def test_a_directory_that_is_named_must_be_there(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["policy", *words, str(tmp_path / "none")])
    assert ended.value.code == 2
    assert f"{tmp_path}/none: there is no such directory" in capsys.readouterr().err


def test_mistakes_in_files(
    directory: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (directory / "20.toml").write_text("[[rule]]\nguest = 1\naction = 'scan'\nverdict = 'yes'\n")
    mistake = f"{directory}/20.toml:4: rule.verdict: should be 'allow' or 'deny'\n"
    assert main(["policy", "check", str(directory)]) == 2
    assert capsys.readouterr().err == mistake
    assert explain(directory, "work", "scan") == 2
    assert capsys.readouterr().err == mistake


def test_the_directory_is_that_of_the_configuration(
    directory: Path, tmp_path_factory: pytest.TempPathFactory, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    file = tmp_path_factory.mktemp("etc") / "usbbtd.toml"
    monkeypatch.setattr(daemon, "DEFAULT_CONFIG", file)
    file.write_text(f'[policy]\ndirectory = "{directory}"')
    for named in ([], ["--config", str(file)]):
        assert main(["policy", "check", *named]) == 0
        assert capsys.readouterr().out.startswith("5 rules")
    assert main(["policy", "explain", "work", "scan", "--config", str(file.with_name("none"))]) == 2
    assert "none" in capsys.readouterr().err
    file.write_text("[policy]\ndirectories = 1")
    assert main(["policy", "check"]) == 2
    assert capsys.readouterr().err == f"{file}:2: policy.directories: no such key; is directory meant?\n"
