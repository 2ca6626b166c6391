"""The commands of the service, of dom0's toolstack and of guests."""
