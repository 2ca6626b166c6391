"""The protocol L2CAP on BR/EDR and LE, without I/O."""
