"""The manual: a page for every command with exactly its options, one for the configuration with exactly its keys."""

import argparse
import importlib
import re
import subprocess
import tomllib
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests import ROOT
from usbbtd.config import Config
from usbbtd.policy import files

CLIENT = ROOT / "clients/c"
PAGES = sorted([*(ROOT / "docs/man").iterdir(), *(CLIENT / "man").iterdir()])
COMMANDS = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]


class Form(NamedTuple):
    """What can follow a command. True: an option that has an argument; an argument that is needed."""

    options: dict[str, bool]
    arguments: list[bool]


class Parsed(BaseException):
    """Instead of parsing: the parser."""


def parser_of(main: str, monkeypatch: pytest.MonkeyPatch) -> argparse.ArgumentParser:
    """The one that ``main``, module:function, would parse its arguments with."""

    def take(parser: argparse.ArgumentParser, *_: object) -> None:
        raise Parsed(parser)

    module, _, function = main.partition(":")
    monkeypatch.setattr(argparse.ArgumentParser, "parse_args", take)
    with pytest.raises(Parsed) as caught:
        getattr(importlib.import_module(module), function)([])
    parser: argparse.ArgumentParser = caught.value.args[0]
    return parser


def forms_of(parser: argparse.ArgumentParser, words: str = "") -> dict[str, Form]:
    """By subcommand, of however many words."""
    form = Form({}, [])
    below: dict[Any, Any] = {}
    alone = True  # whether it does something without a subcommand
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            alone = not action.required
            for name, each in action.choices.items():
                below |= forms_of(each, f"{words} {name}".strip())
        elif action.option_strings:
            form.options[action.option_strings[-1]] = action.nargs != 0
        else:
            form.arguments.append(action.nargs not in ("?", "*"))
    for everywhere in ("--help", "--version"):
        form.options.pop(everywhere, None)
    own = {words: form} if alone else {}
    return own | {
        name: Form(form.options | each.options, form.arguments + each.arguments) for name, each in below.items()
    }


def section(page: str, name: str) -> str:
    found = re.search(rf"^\.Sh {name}\n(.*?)(?=^\.Sh |\Z)", page, re.MULTILINE | re.DOTALL)
    assert found, name
    return found[1]


def forms_in(page: str) -> dict[str, Form]:
    """As the synopsis has them: a form begins with .Nm, and has a macro to each option and argument; "|" is "or"."""
    forms: dict[Any, Any] = {}
    for text in section(page, "SYNOPSIS").split(".Nm\n")[1:]:
        commands, form = [""], Form({}, [])
        for line in text.splitlines():
            if options := re.findall(r"\bFl (\S+)( Ar)?", line):
                form.options.update({f"-{name}": argument != "" for name, argument in options})
            elif line.startswith(".Cm "):
                commands = line.removeprefix(".Cm ").split(" | ")
            elif argument := re.fullmatch(r"\.(Op )?Ar \S+", line):
                form.arguments.append(argument[1] is None)
            else:
                pytest.fail(f"not in a synopsis: {line}")
        forms |= dict.fromkeys(commands, form)
    return forms


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_groff_has_no_warning(page: Path) -> None:
    done = subprocess.run(["groff", "-mdoc", "-ww", "-z", page], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize("command", COMMANDS)
def test_a_page_has_the_options_of_its_command(command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    (path,) = (path for path in PAGES if path.stem == command and path.suffix in (".1", ".8"))
    page = path.read_text()
    forms = forms_of(parser_of(COMMANDS[command], monkeypatch))
    assert forms_in(page) == forms
    described = set(re.findall(r"^\.It Fl (\S+)", section(page, "OPTIONS"), re.MULTILINE))
    assert described - {"-help"} == {option[1:] for form in forms.values() for option in form.options}


@pytest.mark.parametrize("command", sorted(set(COMMANDS) - {"usbbtd"}))  # which a signal ends in order: 0
def test_a_page_has_the_statuses_of_every_command(command: str) -> None:
    (path,) = (path for path in PAGES if path.stem == command and path.suffix in (".1", ".8"))
    assert {"0", "2", "74", "130", "141"} <= set(
        re.findall(r"^\.It (\d+)$", section(path.read_text(), "EXIT STATUS"), re.M)
    )


def test_the_page_of_vl2cap_has_the_options_of_its_command() -> None:
    """By subcommand, as the table of tool/arguments.c has them: name, number, subcommands, whether there is a value."""
    source = (CLIENT / "tool/arguments.c").read_text()
    rows = re.findall(r'\{"--([a-z]+)", [A-Z]+, ([A-Z| ]+), (true|false)\}', source)
    commands = ("info", "scan", "connect", "listen", "ping")
    everywhere = {"help", "version"}  # which do nothing else
    page = (CLIENT / "man/vl2cap.1").read_text()
    assert {name: form.options for name, form in forms_in(page).items()} == {
        command: {
            f"--{name}": value == "true"
            for name, of, value in rows
            if name not in everywhere and (of == "ALL" or command.upper() in of.split(" | "))
        }
        for command in commands
    }
    items = re.findall(r"^\.It (Fl .*)", section(page, "OPTIONS"), re.MULTILINE)
    assert {option for item in items for option in re.findall(r"Fl -(\S+)", item)} == everywhere | {
        row[0] for row in rows
    }


def test_the_page_of_the_library_names_every_function() -> None:
    header = (CLIENT / "include/vl2cap.h").read_text()
    functions = set(re.findall(r"^VL2CAP_API [^;]*?(vl2cap_\w+)\(", header, re.MULTILINE))
    assert len(functions) > 30
    assert set(re.findall(r"\bFn (vl2cap_\w+)", (CLIENT / "man/libvl2cap.3").read_text())) == functions


def test_every_key_of_the_configuration_has_its_default() -> None:
    page = (ROOT / "docs/man/usbbtd.toml.5").read_text()
    described: dict[str, dict[str, object]] = {}
    for line in section(page, "KEYS").splitlines():
        if head := re.fullmatch(r"\.Ss \[(.+)\]", line):
            described[head[1]] = {}
        elif key := re.fullmatch(r"\.It Li (\w+)( = .+)?", line):
            value = tomllib.loads(f"{key[1]}{key[2]}".replace(r"\(dq", '"')) if key[2] else {key[1]: None}
            described[list(described)[-1]] |= value
    assert described == Config().model_dump(mode="json")


def test_every_key_of_the_policy() -> None:
    page = (ROOT / "docs/man/usbbtd-policy.5").read_text()
    rules, limits = (
        set(re.findall(r"^\.It Li (\w+)$", section(page, name), re.MULTILINE)) for name in ("RULES", "LIMITS")
    )
    assert rules | limits == set(files._RuleTable.model_fields)
    assert limits | {"guest"} == set(files._GuestLimits.model_fields)


def test_pages_refer_to_pages_that_are_there() -> None:
    references = {name for path in PAGES for name in re.findall(r"^\.Xr (\S+ \d)", path.read_text(), re.MULTILINE)}
    ours = {name.replace(" ", ".") for name in references if name.startswith(("usbbt", "xl-"))}
    assert ours <= {path.name for path in PAGES}
