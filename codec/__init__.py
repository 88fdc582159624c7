"""Film frames, losslessly smaller: bytes in, bytes out.

    container = codec.compress(frame)
    frame == codec.decompress(container)

`Reader` gives random access to the original inside a container. See docs/codec.md.
"""

from codec.container import (
    HEAD_SIZE,
    WRAP_SIZE,
    Header,
    is_container_head,
    make_wrap_header,
    parse_header,
    peek_header,
)
from codec.encode import compress, decompress, encode, probe
from codec.errors import (
    CodecError,
    DamagedError,
    NotAContainerError,
    UnsupportedFeatureError,
    UnsupportedVersionError,
    VerifyError,
)
from codec.formats.base import PROBE_SIZE
from codec.process import Mode, ProcessResult, Status, process
from codec.reader import Reader
from codec.types import LEVELS, Encoded, Level, Probe
from codec.warmup import warmup, warmup_steps

__all__ = [
    "HEAD_SIZE",
    "LEVELS",
    "PROBE_SIZE",
    "WRAP_SIZE",
    "CodecError",
    "DamagedError",
    "Encoded",
    "Header",
    "Level",
    "Mode",
    "NotAContainerError",
    "Probe",
    "ProcessResult",
    "Reader",
    "Status",
    "UnsupportedFeatureError",
    "UnsupportedVersionError",
    "VerifyError",
    "compress",
    "decompress",
    "encode",
    "is_container_head",
    "make_wrap_header",
    "parse_header",
    "peek_header",
    "probe",
    "process",
    "warmup",
    "warmup_steps",
]
