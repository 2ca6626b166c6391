"""dom0's part: gives vl2cap devices to guests, takes them away, and clears up behind domains that are gone."""
