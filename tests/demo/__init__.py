"""The product at work on one machine: ``python -m tests.demo``."""
