"""What a backend knows besides what all of this version know: bits in the answer to INFO, where they cost no node.

Each node counts against the quota that xenstored has for the driver domain, for each guest.
"""

from typing import Final

from usbbtd.abi.layout import constants

KNOWS_SECURITY: Final[int] = constants.L2CAPIF_KNOWS_SECURITY
KNOWS_FIXED: Final[int] = constants.L2CAPIF_KNOWS_FIXED
KNOWS_AGENT: Final[int] = constants.L2CAPIF_KNOWS_AGENT
KNOWS_SCAN_EXTENDED: Final[int] = constants.L2CAPIF_KNOWS_SCAN_EXTENDED
KNOWS_ADVERTISE_EXTENDED: Final[int] = constants.L2CAPIF_KNOWS_ADVERTISE_EXTENDED

#: All that this backend knows.
KNOWS_ALL: Final = KNOWS_SECURITY | KNOWS_FIXED | KNOWS_AGENT | KNOWS_SCAN_EXTENDED | KNOWS_ADVERTISE_EXTENDED
