"""``python -m tests.demo``: guests, usbbtd, a dongle and remote peers, each a process, on a simulated Xen."""

import sys
from collections.abc import Sequence

from usbbtd.cli.program import program


@program("demo")
def main(argv: Sequence[str] | None = None) -> int:
    # Imported here, where ^C ends it in order: that takes some time.
    from tests.demo import main

    return main.main(argv)


if __name__ == "__main__":
    sys.exit(main())
