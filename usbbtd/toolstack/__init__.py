"""dom0's part: gives vl2cap devices to guests, takes them away, and cleans up after domains that are gone."""
