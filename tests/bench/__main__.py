"""``python -m tests.bench``: our figures beside Bumble's and libxenvchan's."""

import sys
from collections.abc import Sequence

from usbbtd.cli.program import program


@program("bench")
def main(argv: Sequence[str] | None = None) -> int:
    # Imported here, where ^C ends it in order: that takes some time.
    from tests.bench import main

    return main.main(argv)


if __name__ == "__main__":
    sys.exit(main())
