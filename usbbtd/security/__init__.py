"""Pairing, keys and levels: not in this version."""
