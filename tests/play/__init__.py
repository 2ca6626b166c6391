"""The demo's world with a prompt in a guest: ``python -m tests.play``."""
