"""Answers usbbtctl's questions over the control socket. Nothing here changes what guests have."""
