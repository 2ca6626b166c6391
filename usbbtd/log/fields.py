"""The names of the journal's fields for the facts of an event."""

#: Facts whose field has an agreed name.
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
    """Returns the field of a fact: an agreed name, or USBBTD_ and the fact's own name in capitals."""
    return _AGREED.get(fact) or f"USBBTD_{fact.upper()}"
