"""What goes over the rings of usbif and over the bus: requests, responses and descriptors."""
