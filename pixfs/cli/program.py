"""How one verb starts another."""

from __future__ import annotations

import sys

# Without -P Python would import from the folder the command was given in, which may be anybody's.
PROGRAM = (sys.executable, "-P", "-m", "pixfs.cli")
