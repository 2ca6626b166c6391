"""Shares one Bluetooth adapter among its users: its controller, links, channels, scans and advertising."""
