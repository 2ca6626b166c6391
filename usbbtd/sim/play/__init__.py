"""The demo's world with a prompt in a guest: ``python -m usbbtd.sim.play``."""
