"""Memory layouts and ring operations, compiled from the C headers."""
