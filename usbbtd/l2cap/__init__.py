"""L2CAP of BR/EDR and LE, without I/O."""
