"""The protocol of guests behind a serial line, docs/serial.md, as the end that serves them has it. A core."""
