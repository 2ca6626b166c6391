"""Isolated Bluetooth for Xen: a driver domain's daemon that serves L2CAP channels to guests."""
