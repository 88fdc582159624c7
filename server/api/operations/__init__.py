"""What operators and their monitors ask: no credentials, nothing secret."""

from __future__ import annotations

from server.api.operations.access import MonitorAccess
from server.api.operations.routes import OperationsFace

__all__ = ["MonitorAccess", "OperationsFace"]
