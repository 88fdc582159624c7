"""What can go wrong in the codec, one class per cause.

CodecError
├── NotAContainerError      the bytes are no PXF container at all
├── UnsupportedVersionError a container of a later version of the format
├── UnsupportedFeatureError a container that needs features this reader lacks
├── DamagedError            a container whose bytes are not those that were written
└── VerifyError             the encoder's own result did not decode to its input
"""

from __future__ import annotations


class CodecError(Exception):
    """Base of every error the codec raises on purpose."""


class NotAContainerError(CodecError):
    """The bytes do not begin with a PXF header."""


class UnsupportedVersionError(CodecError):
    """The container's version is later than this reader's."""

    def __init__(self, version: int) -> None:
        super().__init__(f"container version {version} is later than this reader knows (1)")
        self.version = version


class UnsupportedFeatureError(CodecError):
    """The container needs features that this reader lacks."""

    def __init__(self, features: list[str]) -> None:
        super().__init__(f"container needs features this reader lacks: {', '.join(features)}")
        self.features = features


class DamagedError(CodecError):
    """A part of the container fails its checksum or its structure.

    Attributes:
        part: what is damaged, as a person would say it (``tile 3 (rows 192-255)``).
        offset: where in the original file the first unreadable byte stands, or None when
            the damage is not tied to a range of it.
    """

    def __init__(self, part: str, detail: str, offset: int | None = None) -> None:
        super().__init__(f"{part}: {detail}")
        self.part = part
        self.detail = detail
        self.offset = offset


class VerifyError(CodecError):
    """Encoding then decoding did not give the input back; nothing may be replaced."""
