"""The product at work on one machine: ``python -m usbbtd.sim.demo``."""
