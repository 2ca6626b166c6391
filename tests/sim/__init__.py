"""A Xen that is not there."""
