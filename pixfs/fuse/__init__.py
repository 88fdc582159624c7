"""The volume as a mounted file system: operations, inode numbers, handles and the session."""

from __future__ import annotations
