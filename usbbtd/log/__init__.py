"""The log: set up, kept from floods, and explained by the table of all its events."""
