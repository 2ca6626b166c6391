"""Tags of a guest: words that dom0's administrator gives it and that rules of policy can name."""

import re

#: Of one guest.
TAGS_MAX = 32

_TAG = re.compile(r"[A-Za-z0-9_.-]{1,64}")


def parse_tags(text: str) -> frozenset[str]:
    """Tags separated by blanks. ValueError."""
    tags = text.split()
    if len(tags) > TAGS_MAX:
        raise ValueError(f"{len(tags)} tags, and {TAGS_MAX} are the most")
    for tag in tags:
        check_tag(tag)
    return frozenset(tags)


def check_tag(tag: str) -> None:
    """ValueError: this is none."""
    if not _TAG.fullmatch(tag):
        raise ValueError(f"{tag[:80]!r} is no tag: up to 64 letters, digits, and . _ -")
