"""Answers a guest's question what the adapter is."""

from usbbtd.abi.layout import constants
from usbbtd.backends.vl2cap.session import GuestSession
from usbbtd.bluetooth import BREDR
from usbbtd.l2capif.calls import InfoCall
from usbbtd.l2capif.features import KNOWS_ALL


def answer_info(session: GuestSession, call: InfoCall) -> None:
    """Answers the call with the adapter's addresses, what it can do now, and what we know."""
    adapter = session.adapter
    bredr, le = adapter.transports
    features = KNOWS_ALL | bredr * constants.L2CAPIF_FEATURE_BREDR
    features |= le * constants.L2CAPIF_FEATURE_LE
    features |= (bredr or le) * constants.L2CAPIF_FEATURE_AGENT
    features |= adapter.air.can_scan * constants.L2CAPIF_FEATURE_SCAN
    features |= adapter.air.can_advertise * constants.L2CAPIF_FEATURE_ADVERTISE
    session.core.complete_info(
        call.req_id, address=adapter.address, address_type=BREDR, powered=adapter.powered, features=features,
        le_address=adapter.le_address, le_address_type=le * constants.L2CAPIF_ADDR_LE_RANDOM,
    )  # fmt: skip
