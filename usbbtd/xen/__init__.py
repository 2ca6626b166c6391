"""All that opens a Xen device: store, event channels, grants, rings."""
