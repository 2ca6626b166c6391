"""``python -m usbbtd`` is ``usbbtd``."""

import sys

from usbbtd.cli.daemon import main

sys.exit(main())
