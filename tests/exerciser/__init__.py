"""Random work on frames of a mount, checked against a model, while a converter compresses and
restores the same files; in the manner of fsx."""

from __future__ import annotations
