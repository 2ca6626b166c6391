"""What a user of a scan has heard: whoever does not want duplicates gets each content of a device once.

The controller's filter does that for one user. As it is shared by all, and is off if any user wants duplicates, each
user has a filter of its own here, too.
"""

#: The most contents that are remembered for a user; the oldest is forgotten for another, and is then reported again.
MAX_HEARD = 512


class HeardContents:
    """Remembers contents by their hash values, as each may have 1,650 octets."""

    def __init__(self) -> None:
        self._heard: dict[int, None] = {}
        self.forgotten = 0

    def is_new(self, *content: str | int | bytes) -> bool:
        """Returns whether this content, which names its device, was not heard before, and remembers it."""
        key = hash(content)
        if key in self._heard:
            return False
        if len(self._heard) >= MAX_HEARD:
            del self._heard[next(iter(self._heard))]
            self.forgotten += 1
        self._heard[key] = None
        return True
