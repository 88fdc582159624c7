"""The REST server: one core, the documented faces over it, one process on one port."""

from __future__ import annotations
