"""PixMover's REST interface: login by cookie, forms in, JSON out; GET, PUT and POST only.

Three operational models are three roles (`server.core.permissions`). Each module but the
machinery below is one functional area. COVERAGE.md tells what of the interface there is.
"""

from __future__ import annotations

from server.api.pixmover.routes import PixMoverFace, is_open

__all__ = ["PixMoverFace", "is_open"]
