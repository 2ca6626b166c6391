"""Serves other domains: each guest with the share of the adapter that policy allows it."""
