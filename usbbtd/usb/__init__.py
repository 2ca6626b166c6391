"""usbif, USB descriptors and enumeration, without I/O."""
