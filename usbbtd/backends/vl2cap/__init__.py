"""Serves guests' vl2cap devices (docs/l2capif.md): a guest's rings on one side, the adapter on the other."""
