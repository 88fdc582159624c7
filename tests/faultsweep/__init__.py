"""What a user's operation comes to when the N-th call into the backing fails, for every N."""

from __future__ import annotations
