"""``python -m usbbtd.cli.ctl`` is usbbtctl."""

import sys

from usbbtd.cli.ctl import main

sys.exit(main())
