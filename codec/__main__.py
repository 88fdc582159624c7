"""``python -m codec``; see `codec.cli.main`."""

from __future__ import annotations

import sys

from codec.cli.main import main, start

__all__ = ["main"]

if __name__ == "__main__":
    sys.exit(start())
