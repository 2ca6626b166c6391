"""``python -m usbbtd.events catalog|page`` prints the catalog or the page that is made from the table of events."""

import sys

from usbbtd.events import pages

if __name__ == "__main__":
    sys.stdout.write({"catalog": pages.catalog, "page": pages.page}[sys.argv[1]]())
