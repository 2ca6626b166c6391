"""dom0's part: gives vl2cap devices to guests, dongles to driver domains, and cleans up after domains that are gone."""
