"""The control socket: what usbbtctl asks the service, and what it is told. Nothing here changes what guests have."""
