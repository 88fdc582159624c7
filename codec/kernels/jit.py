"""One place for the compiler's flags and for where compiled kernels are cached.

Compiled kernels are kept in a directory that is named after a digest of every kernel's source:
numba looks only at the file of the function it loads, so a kernel inlined from another module
would otherwise go stale unnoticed.

``PIXFS_KERNEL_CACHE`` names the directory to use. Without it the cache stands in
``$XDG_CACHE_HOME/pixfs/kernels`` (``~/.cache/pixfs/kernels``). Where that cannot be written,
kernels are compiled anew in each process and a warning says so.
"""

from __future__ import annotations

import hashlib
import logging
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numba
from numba import config, njit

if TYPE_CHECKING:
    from collections.abc import Callable

log = logging.getLogger(__name__)


def _source_digest() -> str:
    """Digest of all kernel sources and of the compiler's version."""
    digest = hashlib.sha256(numba.__version__.encode())
    for path in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def _cache_root() -> Path:
    chosen = os.environ.get("PIXFS_KERNEL_CACHE")
    if chosen:
        return Path(chosen)
    base = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return Path(base) / "pixfs" / "kernels"


def _usable_cache() -> Path | None:
    root = _cache_root() / _source_digest()
    try:
        root.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=root):
            pass
    except OSError as error:
        log.warning(
            "compiled kernels cannot be kept in %s (%s): every process will compile them anew, "
            "which takes about a minute; set PIXFS_KERNEL_CACHE to a writable directory",
            root,
            error.strerror,
        )
        return None
    return root


CACHE_DIR = _usable_cache()
if CACHE_DIR is not None:
    config.CACHE_DIR = str(CACHE_DIR)  # type: ignore[attr-defined,unused-ignore]


def is_compiled() -> bool:
    """Whether some kernels of this version are in the cache, or can be in none."""
    return CACHE_DIR is None or any(CACHE_DIR.rglob("*.nbi"))


def kernel(function: Callable[..., Any]) -> Any:
    """Compile ``function`` without the GIL, cached on disk."""
    return njit(nogil=True, cache=CACHE_DIR is not None)(function)


def inlined(function: Callable[..., Any]) -> Any:
    """Compile ``function`` into each of its callers."""
    return njit(nogil=True, inline="always")(function)
