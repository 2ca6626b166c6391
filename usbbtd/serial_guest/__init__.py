"""Joins the serial line of a guest to a vl2cap device that stands for it."""
