"""``python -m pixfs.cli`` is ``pixfs``: the way one verb starts another."""

from __future__ import annotations

import sys

from pixfs.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
