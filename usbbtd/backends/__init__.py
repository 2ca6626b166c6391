"""What other domains are served: a policed share of the adapter."""
