"""The daemon: finds dongles and guests, and keeps both served."""
