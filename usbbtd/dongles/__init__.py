"""Bluetooth dongles, wherever they are plugged in: behind usbif, or on the domain's own USB controller."""
