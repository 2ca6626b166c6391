"""Makes links secure, without I/O: pairing, keys, encryption, and the level that a link has by them."""
