"""One adapter, shared: its controller, links, channels, scans and advertising."""
