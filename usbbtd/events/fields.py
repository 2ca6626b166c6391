"""The journal's fields: how the facts of an event are called there."""

#: Facts with a field of an agreed name.
_AGREED = {
    "domid": "XEN_DOMID",
    "devid": "XEN_DEVID",
    "state": "XENBUS_STATE",
    "path": "XENSTORE_PATH",
    "addr": "BT_ADDR",
    "psm": "BT_PSM",
    "cid": "L2CAP_CID",
}


def field_of(fact: str) -> str:
    """The field of a fact: an agreed name, or USBBTD_ and its own in capitals."""
    return _AGREED.get(fact) or f"USBBTD_{fact.upper()}"
