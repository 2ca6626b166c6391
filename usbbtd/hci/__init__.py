"""The Bluetooth host controller interface, without I/O."""
