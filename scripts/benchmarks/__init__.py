"""Measurements of the codec and of a mount, beside their peers, in one run on one machine."""
