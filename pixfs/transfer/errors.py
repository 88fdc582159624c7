"""Why a transfer stops before it starts, or leaves a file out."""

from __future__ import annotations

from pixfs.errors import TargetError


class AliasError(TargetError):
    """Source and destination are one place by two names, or one contains the other."""


class TransferError(Exception):
    """One file was not copied or not moved; ``str()`` says why. The source is as it was."""


class ChangedError(TransferError):
    """The source is no longer what it was when its copy began."""
