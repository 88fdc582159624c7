"""What stops a command before it starts: one class per cause, mapped to exit codes in the CLI."""

from __future__ import annotations


class PixfsError(Exception):
    """Base of the errors that are told to the user as they are; the text says what to do."""


class ConfigError(PixfsError):
    """A configuration file, option or value that cannot be used."""


class MountError(PixfsError):
    """A mount that cannot be made, or a mount point that cannot be freed."""


class TargetError(PixfsError):
    """A path that is not what the command works on."""
