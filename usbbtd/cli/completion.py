"""Makes bash completions of our commands from their parsers: ``python -m usbbtd.cli.completion DIRECTORY``."""

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

from usbbtd.cli import ctl, daemon, guest, serial, toolstack

#: Options of compgen that complete an argument, by its name in the usage.
_KINDS = {"FILE": "-f", "PATH": "-f", "DIR": "-d"}

_SCRIPT = """\
# bash completion of {program}; made from its arguments by 'make completions'

_{function}() {{
    COMPREPLY=()
    local current=${{COMP_WORDS[COMP_CWORD]}} previous=${{COMP_WORDS[COMP_CWORD - 1]}} command= word words= paths=
    for word in "${{COMP_WORDS[@]:1:COMP_CWORD - 1}}"; do
        case "$command $word" in
        {commands}) command+=" $word" ;;
        esac
    done
    case "$command $previous" in
{values}
    *)
        case "$command" in
{words}
        esac
        ;;
    esac
    COMPREPLY=($(compgen -W "$words" -- "$current"))
    if [[ $paths ]]; then
        compopt -o filenames 2>/dev/null
        mapfile -t -O ${{#COMPREPLY[@]}} COMPREPLY < <(compgen $paths -- "$current")
    fi
}}
complete -F _{function} {program}
"""


def script(parser: argparse.ArgumentParser) -> str:
    """Returns a script that completes a command's subcommands, options and choices, and names of files."""
    found = list(parsers(parser))
    commands = " | ".join(f'"{path}"' for path, _ in found if path)
    values = [
        f'    "{path} {option}") {_completion(action)} ;;'
        for path, each in found
        for option, action in options(each).items()
        if action.nargs != 0
    ]
    words = [f'        "{path}") {_words(each)} ;;' for path, each in found]
    return _SCRIPT.format(
        program=parser.prog, function=parser.prog.replace("-", "_"), commands=commands,
        values="\n".join(values), words="\n".join(words),
    )  # fmt: skip


def main(directory: Path) -> None:
    for module in (daemon, ctl, guest, serial, toolstack):
        parser = module.make_parser()
        (directory / parser.prog).write_text(script(parser), encoding="utf-8")


def parsers(parser: argparse.ArgumentParser, path: str = "") -> Iterator[tuple[str, argparse.ArgumentParser]]:
    """Yields (names of the commands that lead to it, a blank before each; parser) of each parser."""
    yield path, parser
    for name, inner in _subcommands(parser).items():
        yield from parsers(inner, f"{path} {name}")


def _subcommands(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    found: dict[str, argparse.ArgumentParser] = {}
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            found |= action.choices
    return found


def options(parser: argparse.ArgumentParser) -> dict[str, argparse.Action]:
    """Returns a parser's options, by their long names."""
    return {option: action for action in parser._actions for option in action.option_strings if option.startswith("--")}


def _words(parser: argparse.ArgumentParser) -> str:
    words = f'words="{" ".join([*_subcommands(parser), *options(parser)])}"'
    kinds = [
        _KINDS[str(action.metavar)]
        for action in parser._actions
        if action.metavar in _KINDS and not action.option_strings
    ]
    return f"{words} paths={kinds[0]}" if kinds else words


def _completion(action: argparse.Action) -> str:
    if action.choices is not None:
        return f'words="{" ".join(map(str, action.choices))}"'
    return f"paths={kind}" if (kind := _KINDS.get(str(action.metavar))) else "return"


if __name__ == "__main__":
    main(Path(sys.argv[1]))
