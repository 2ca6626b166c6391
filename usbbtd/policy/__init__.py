"""Which guest may do what, with which peer: the administrator's rules, read from files and asked request by request."""
