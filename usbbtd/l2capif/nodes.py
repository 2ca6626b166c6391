"""The nodes of vl2cap devices, besides those that all devices have: see docs/l2capif.md."""

from usbbtd.nodes import DeviceClass

VL2CAP = DeviceClass("device/vl2cap", "backend/vl2cap")

# Written by the toolstack into the backend's directory
DOMAIN = "domain"
TAGS = "tags"
STANDS_FOR = "stands-for"

# Written by the backend
VERSIONS = "versions"
MAX_PAGE_ORDER = "max-page-order"
MAX_CHANNELS = "max-channels"
FEATURE_BREDR = "feature-bredr"
FEATURE_LE = "feature-le"
FEATURE_SCAN = "feature-scan"
FEATURE_ADVERTISE = "feature-advertise"
FEATURE_ECHO = "feature-echo"
FEATURE_INFO_WAIT = "feature-info-wait"

# Written by the frontend
VERSION = "version"
RING_REF = "ring-ref"
EVENT_CHANNEL = "event-channel"
