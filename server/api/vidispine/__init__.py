"""Vidispine's Files interface: files, storages and the jobs between them, in XML, JSON and text."""

from __future__ import annotations

from server.api.vidispine.routes import VidispineFace, is_streamed, refusal

__all__ = ["VidispineFace", "is_streamed", "refusal"]
