"""What controllers of some makers need before the usual start: Realtek's and Intel's firmware, and names for copies."""
