"""Has room for pairing, keys and levels of security, which this version does not have."""
