"""The command line of scripts/bench."""

from __future__ import annotations

import argparse
import signal
import subprocess
import sys

from benchmarks import catalog_bench
from benchmarks.errors import BenchError


def main() -> int:
    """Run one benchmark; 2 means it could not run, and stderr says why."""
    parser = argparse.ArgumentParser(prog="scripts/bench", description=__doc__)
    verbs = parser.add_subparsers(dest="verb", required=True)
    codec_parser = verbs.add_parser("codec", help="ratio and one-thread speed beside peers")
    mount_parser = verbs.add_parser("mount", help="a mount beside the directory under it")
    jobs_parser = verbs.add_parser("jobs", help="a job of many small frames beside cp -r")
    catalog_parser = verbs.add_parser("catalog", help="pages of a list of a million files")
    catalog_bench.add_arguments(catalog_parser)
    try:
        from benchmarks import codec_bench, jobs, mount_bench
    except ImportError as error:
        # imagecodecs is an extra that only benchmarks need.
        print(f"scripts/bench: {error}; run .venv/bin/pip install -e '.[bench]'", file=sys.stderr)
        return 2
    codec_bench.add_arguments(codec_parser)
    mount_bench.add_arguments(mount_parser)
    jobs.add_arguments(jobs_parser)
    options = parser.parse_args()
    # A plain exit runs the clean-up that unmounts; the default action would not.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        runs = {
            "codec": codec_bench.run,
            "mount": mount_bench.run,
            "jobs": jobs.run,
            "catalog": catalog_bench.run,
        }
        return runs[options.verb](options)
    except BenchError as error:
        print(f"scripts/bench: {error}", file=sys.stderr)
    except subprocess.CalledProcessError as error:
        detail = (error.stderr or b"").decode(errors="replace").strip()
        print(f"scripts/bench: {error} {detail}", file=sys.stderr)
    except KeyboardInterrupt:
        return 130
    return 2


if __name__ == "__main__":
    sys.exit(main())
