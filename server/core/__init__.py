"""What the server knows and does, without a word of HTTP."""

from __future__ import annotations

from server.core.core import Core
from server.core.health import Health

__all__ = ["Core", "Health"]
