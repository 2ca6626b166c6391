"""Tags of a guest: words that dom0's administrator gives it, and by which rules of the policy can name it."""

import re

#: The most tags that one guest can have.
TAGS_MAX = 32

_TAG = re.compile(r"[A-Za-z0-9_.-]{1,64}")


def parse_tags(text: str) -> frozenset[str]:
    """Returns the tags in a text that separates them by blanks. Raises ValueError for a wrong one, or too many."""
    tags = text.split()
    if len(tags) > TAGS_MAX:
        raise ValueError(f"{len(tags)} tags, and {TAGS_MAX} are the most")
    for tag in tags:
        check_tag(tag)
    return frozenset(tags)


def check_tag(tag: str) -> None:
    """Raises ValueError if this is not a tag."""
    if not _TAG.fullmatch(tag):
        raise ValueError(f"{tag[:80]!r} is no tag: up to 64 letters, digits, and . _ -")
