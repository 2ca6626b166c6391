"""``python -m tests.play``: the demo's world with a prompt in a guest."""

import sys
from collections.abc import Sequence

from usbbtd.cli.program import program


@program("play")
def main(argv: Sequence[str] | None = None) -> int:
    # Imported here, where ^C ends it in order: that takes some time.
    from tests.play import main

    return main.main(argv)


if __name__ == "__main__":
    sys.exit(main())
