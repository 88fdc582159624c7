"""The verbs of the command line, in the order the help shows them.

Each is a module of this package with NAME, HELP, add_arguments(parser) and run(args) -> int.
"""

from __future__ import annotations

VERBS = (
    "mount",
    "umount",
    "health",
    "status",
    "compress",
    "restore",
    "verify",
    "wait",
    "cp",
    "mv",
    "df",
    "stats",
    "throttle",
    "fsck",
    "scrub",
    "warmup",
    "serve",
    "worker",
    "jobs",
    "user",
    "up",
    "demo",
)
