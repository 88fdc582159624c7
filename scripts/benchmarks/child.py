"""What runs in a process of its own, because what it measures is the process.

usage: python -m benchmarks.child memory|first|steps FILE [DIRECTION THREADS LEVEL]
"""

from __future__ import annotations

import sys
import time
from pathlib import Path


def _status(field: str) -> int:
    """Bytes of a field of /proc/self/status."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1]) * 1024
    raise RuntimeError(f"/proc/self/status has no {field}")


def memory(file: Path, direction: str, threads: int, level: str) -> None:
    """Print the growth of resident memory, from before the file is read, at its peak."""
    import codec
    from codec.synthetic import dpx_frame

    # Code, compiled kernels and the libraries' own pools are paid for once, by a small frame.
    small = codec.compress(dpx_frame(512, 64), level=level, threads=threads)
    codec.decompress(small, threads=threads)
    Path("/proc/self/clear_refs").write_text("5")
    before = _status("VmRSS")
    data = file.read_bytes()
    if direction == "encode":
        codec.encode(data, level=level, threads=threads)
    else:
        codec.decompress(data, threads=threads)
    print(_status("VmHWM") - before)


def first(file: Path) -> None:
    """Decode a container as the first thing this process does, and print when it was done."""
    import codec

    decoded = codec.decompress(file.read_bytes())
    print(time.monotonic(), len(decoded))


def steps(file: Path, level: str) -> None:
    """Encode and decode once for each line of input, and say when each is done."""
    import codec

    data = file.read_bytes()
    stored = codec.encode(data, level=level, verify=False).container
    codec.decompress(stored)
    print("ready", flush=True)
    for line in sys.stdin:
        if line.strip() == "encode":
            codec.encode(data, level=level, verify=False)
        else:
            codec.decompress(stored)
        print("done", flush=True)


def main() -> None:
    """Run what the arguments name."""
    what, file, *rest = sys.argv[1:]
    if what == "memory":
        direction, threads, level = rest
        memory(Path(file), direction, int(threads), level)
    elif what == "first":
        first(Path(file))
    else:
        steps(Path(file), rest[0])


if __name__ == "__main__":
    main()
