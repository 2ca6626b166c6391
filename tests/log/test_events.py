"""The table and what the package logs are the same events."""

import ast
import re
import string
from collections import defaultdict
from typing import NamedTuple

import pytest

from tests import ROOT
from usbbtd.log.events import EVENTS, LogEvent, by_phrase

PACKAGE = ROOT / "usbbtd"
LEVELS = ("debug", "info", "warning", "error", "critical", "exception")
LOGS = re.compile(r"(.*\.)?_?log(\.bind\(.*\))?|structlog\.get_logger\(\)")
ALL = [event for events in EVENTS.values() for event in events]


class Call(NamedTuple):
    place: str
    level: str
    phrase: str | None  # None: not a literal
    facts: set[str]
    more: bool  # facts that only the running program knows


def calls_and_bound() -> tuple[list[Call], set[str]]:
    """Every place that logs, and every fact that is bound to some log: such facts come with events of other places."""
    calls, bound = [], set()
    for file in sorted(PACKAGE.rglob("*.py")):
        if file.is_relative_to(PACKAGE / "sim"):
            continue
        for node in ast.walk(ast.parse(file.read_text())):
            if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
                continue
            if LOGS.fullmatch(ast.unparse(node.func.value)) is None:
                continue
            keywords = {keyword.arg for keyword in node.keywords}
            facts = {keyword for keyword in keywords if keyword not in (None, "exc_info")}
            if node.func.attr == "bind":
                bound |= facts
            elif node.func.attr in (*LEVELS, "log"):
                phrase = node.args[1 if node.func.attr == "log" else 0]
                text = phrase.value if isinstance(phrase, ast.Constant) and isinstance(phrase.value, str) else None
                level = "any" if node.func.attr == "log" else node.func.attr
                calls.append(Call(f"{file.relative_to(PACKAGE)}:{node.lineno}", level, text, facts, None in keywords))
    return calls, bound


CALLS, BOUND = calls_and_bound()


def facts_of(event: LogEvent) -> tuple[set[str], set[str]]:
    """(those that every such event has, those that some have)"""
    words = set(event.facts.split())
    always = {word for word in words if not word.startswith("(")}
    return always, {word.strip("()") for word in words - always}


def test_every_event_that_is_logged_is_in_the_table_and_the_other_way_round() -> None:
    logged: dict[str | None, set[str]] = defaultdict(set)
    for call in CALLS:
        logged[call.phrase].add(call.level)
    assert logged == {event.phrase: {event.level} for event in ALL}


def test_every_place_that_logs_gives_the_facts_of_the_table() -> None:
    wrong = []
    for call in CALLS:
        always, sometimes = facts_of(by_phrase()[call.phrase or ""])
        wrong += [f"{call.place}: {fact} is not in the table" for fact in call.facts - always - sometimes]
        if not call.more:
            wrong += [f"{call.place}: {fact} is missing" for fact in always - call.facts - BOUND]
    assert wrong == []


def test_phrases_and_message_ids_are_unique() -> None:
    assert len(ALL) == len({event.phrase for event in ALL}) == len({event.message_id for event in ALL})


@pytest.mark.parametrize("event", ALL, ids=[event.phrase for event in ALL])
def test_an_entry_is_sound(event: LogEvent) -> None:
    assert re.fullmatch(r"[0-9a-f]{12}4[0-9a-f]{3}[89ab][0-9a-f]{15}", event.message_id)  # random: RFC 9562, 5.4
    for text in (event.explanation, event.remedy):
        assert text.endswith(".")
        named = {name for _, name, _, _ in string.Formatter().parse(text) if name is not None}
        assert named <= facts_of(event)[0]
