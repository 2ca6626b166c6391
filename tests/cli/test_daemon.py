"""The command line of the service; what it serves is in service/test_run.py."""

import subprocess
import sys
from pathlib import Path

import pytest

from usbbtd.cli import daemon
from usbbtd.config import Config, ConfigError


def test_a_good_configuration_is_passed_over_in_silence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "usbbtd.toml"
    file.write_text(f'[guests]\nchannels = 8\n[policy]\ndirectory = "{tmp_path}/none"')
    assert daemon.main(["check-config", "--config", str(file)]) == 0
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("command", ["run", "check-config"])
def test_a_bad_configuration_is_told_with_file_line_and_key(
    command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "usbbtd.toml"
    file.write_text("[guests]\n\nchanels = 8\n")
    assert daemon.main([command, "--config", str(file)]) == 2
    assert capsys.readouterr() == ("", f"{file}:3: guests.chanels: no such key; is channels meant?\n")


@pytest.mark.parametrize("command", ["run", "check-config"])
def test_a_bad_policy_is_told_with_file_line_and_key(
    command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, rules = tmp_path / "usbbtd.toml", tmp_path / "policy" / "10-work.toml"
    (tmp_path / "conf.d").mkdir()
    (tmp_path / "conf.d" / "policy.toml").write_text(f'policy.directory = "{tmp_path / "policy"}"')
    (tmp_path / "policy").mkdir()
    file.write_text("")
    rules.write_text("[[rule]]\nguest = 'work'\naction = 'scan'\nverdict = 'yes'")
    assert daemon.main([command, "--config", str(file)]) == 2
    assert capsys.readouterr() == ("", f"{rules}:4: rule.verdict: should be 'allow' or 'deny'\n")


def test_a_file_that_was_named_must_exist(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert daemon.main(["check-config", "--config", str(tmp_path / "none")]) == 2
    assert capsys.readouterr().err == f"{tmp_path}/none: No such file or directory\n"


def test_the_default_file_need_not_exist(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(daemon, "DEFAULT_CONFIG", tmp_path / "usbbtd.toml")
    assert daemon.read_config(None) == Config()
    (tmp_path / "usbbtd.toml").write_text("nonsense")
    with pytest.raises(ConfigError):
        daemon.read_config(None)


@pytest.mark.parametrize("arguments", [[], ["fly"], ["run", "--fast"]])
def test_wrong_usage_is_status_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        daemon.main(arguments)
    assert ended.value.code == 2
    assert "usage: usbbtd" in capsys.readouterr().err


def test_the_service_does_not_start_without_cryptography(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "usbbtd.toml"
    file.write_text(f'[policy]\ndirectory = "{tmp_path}/none"')
    monkeypatch.setitem(sys.modules, "cryptography", None)  # as Python has a package that cannot be imported
    assert daemon.main(["run", "--config", str(file)]) == 1
    assert capsys.readouterr() == ("", "usbbtd: the Python package cryptography is missing, which pairing needs\n")
    assert daemon.main(["check-config", "--config", str(file)]) == 0


def test_the_package_runs_as_the_command() -> None:
    command = [sys.executable, "-m", "usbbtd", "check-config", "--config", "/nowhere/usbbtd.toml"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "/nowhere/usbbtd.toml: No such file or directory\n"
