"""Use a mount hard for a while, killing its daemon now and then, and judge what is left.

In the first part of the time the daemon is killed and mounted again, over and over, while users
write, read, rename, patch, convert and delete and limits change; in the rest the same goes on
without kills, and the daemon's memory and descriptors are watched. In the end every file must
have the bytes that were written, fsck --deep must find nothing, and nothing may have grown: the
memory by no more than 5 % and 32 MiB, the descriptors by no more than 16.

Exit codes: 0 all well, 1 something is not (it is printed), 2 usage, 130 interrupted.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
from pathlib import Path

from soaking.daemon import SoakError
from soaking.run import Plan, Report, soak
from soaking.verdict import described


def main() -> int:
    """Parse, run, print."""
    args = _arguments()
    plan = Plan(
        seconds=args.minutes * 60,
        kill_share=args.kill_share,
        kill_every_s=args.kill_every,
        workers=args.workers,
        frames=args.frames,
        seed=args.seed,
        sample_every_s=min(5.0, args.minutes * 60 / 64),
    )
    print(f"soak: seed {args.seed}", flush=True)
    with tempfile.TemporaryDirectory(prefix="pixfs-soak-", dir=args.dir) as name:
        directory = Path(name)
        try:
            report = soak(directory, plan)
        except SoakError as error:
            print(f"soak: {error}", file=sys.stderr)
            return 1
        except KeyboardInterrupt:
            return 130
        finally:
            if args.keep_log and (log := directory / "daemon.log").exists():
                args.keep_log.write_bytes(log.read_bytes())
    return _print(report)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="scripts/soak",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--minutes", type=float, default=20.0, help="how long (default 20)")
    parser.add_argument(
        "--kill-share", type=float, default=0.5, help="share of the time with kills (default 0.5)"
    )
    parser.add_argument(
        "--kill-every", type=float, default=10.0, help="seconds between kills (default 10)"
    )
    parser.add_argument("--workers", type=int, default=4, help="users at once (default 4)")
    parser.add_argument(
        "--frames", type=Path, help="directory of frames to write (default: made-up ones)"
    )
    parser.add_argument("--dir", type=Path, help="where to work (default: the temporary directory)")
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 16))
    parser.add_argument("--keep-log", type=Path, metavar="FILE", help="keep the daemon's log")
    return parser.parse_args()


def _print(report: Report) -> int:
    actions = ", ".join(f"{count} {action}" for action, count in sorted(report.actions.items()))
    print(f"{report.kills} kills, {report.limits} changes of limits; {actions}")
    print(f"{report.files} files at the end, {report.bytes_moved / 1e9:.1f} GB written and read")
    print(f"steady time: {described(report.steady)}")
    for problem in report.problems:
        print(f"PROBLEM {problem}")
    print("all well" if not report.problems else f"{len(report.problems)} problems")
    return 1 if report.problems else 0


if __name__ == "__main__":
    sys.exit(main())
