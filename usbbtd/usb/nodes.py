"""The nodes of usbif devices, besides those that all devices have: usbif.h does not name all of them."""

from usbbtd.nodes import DeviceClass

#: QEMU's backend has another name than the frontend: ``xl usbctrl-attach type=qusb``.
VUSB = DeviceClass("device/vusb", "backend/qusb")

# Written by the toolstack into the backend's directory
NUM_PORTS = "num-ports"
#: A directory with a node for each port, which names the device that is plugged in there.
PORTS = "port"
#: A node of our own toolstack: the device of a port that is emptied for a while.
DETACHED = "detached"
#: A node of our own toolstack: which device was plugged into a port last, as places are used again.
PLUGGED = "plugged"

# Written by the backend
#: "1" if several URBs may wait on one endpoint, and each of them is answered when the endpoint fails. Without it we
#: submit one URB an endpoint, each of which costs a wake-up: QEMU's backend (7.2, and as far as we know later) dies of
#: a null pointer when an endpoint with queued URBs fails, as all endpoints do when the dongle is pulled out.
FEATURE_QUEUED_URBS = "feature-queued-urbs"

# Written by the frontend
URB_RING_REF = "urb-ring-ref"
CONN_RING_REF = "conn-ring-ref"
EVENT_CHANNEL = "event-channel"
#: A node of our own: "1" asks dom0 to empty the backend's ports until it is "0" again.
DETACH_PORTS = "detach-ports"
