"""Pairs with the peer of one LE link by the Security Manager Protocol (Vol 3, Part H); begin at ``machine.py``."""
