"""The packets of HCI: what goes to a controller and what comes from it, but for data."""
