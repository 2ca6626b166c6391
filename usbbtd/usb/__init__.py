"""The protocols usbif and USB, with descriptors and enumeration: both ends, without I/O."""
