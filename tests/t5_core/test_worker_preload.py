"""A worker has loaded what batches need before it takes the first one."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

# A worker that, instead of taking batches from a scheduler, tells what it has loaded, does one
# batch of each kind as it would in its threads, and tells what that has loaded.
PROGRAM = """
import argparse, json, pathlib, sys
from pixfs.cli import worker

OURS = ("server", "pixfs", "codec")
base = pathlib.Path(sys.argv[1])

def loaded():
    return {name for name in sys.modules if name.split(".")[0] in OURS}

async def work(*given):
    before = loaded()
    do_batches()
    print(json.dumps([sorted(before), sorted(loaded() - before)]))

def do_batches():
    from server.core.jobs.states import JobKind
    from server.core.jobs.tasks import TaskFile
    from server.work.actions import open_storage
    from server.work.batch import StorageSpec
    from server.work.run import Assignment
    from server.work.station import Message, exchange, run_here

    one, two = (StorageSpec("directory", str(base / name)) for name in ("one", "two"))
    spec = {"sources": ["a"], "destination": "", "overwrite": "fail", "verify": "hash",
            "stored": True, "quiet_s": 0}
    st = (base / "one" / "a").stat()
    files = (TaskFile(0, "a", "a", st.st_size, st.st_mtime_ns),)
    limits = ({"read": ("throttle-1",)}, {})
    for action, kind, target in (
        ("plan", "copy", two), ("copy", "copy", two), ("finish", "copy", two),
        ("clear", "copy", two), ("verify", "verify", None), ("index", "verify", None),
        ("rename", "move", one), ("delete", "delete", None),
    ):
        given = files if action not in ("plan", "finish") else ()
        assignment = Assignment(
            token=action, task_id=1, job_id=1, kind=JobKind(kind), action=action, attempt=1,
            lost=(), files=given, source=one, target=target, spec=spec, folders=[], valid_s=60.0,
        )
        result = run_here(assignment)
        assert result.report.ended == "finished", (action, result)
        exchange(Message(limits={action: limits}))
    open_storage(StorageSpec("s3", "s3://bucket/x", {
        "endpoint": "http://127.0.0.1:1", "access_key": "a", "secret_key": "b"})).close()

worker._work = work
given = argparse.Namespace(scheduler="tcp://127.0.0.1:1", name=None, threads=1, host=None)
sys.exit(worker.run(given))
"""


def test_a_worker_loads_everything_before_its_first_batch(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    (tmp_path / "one" / "a").write_bytes(b"a frame")
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    before, by_batches = json.loads(done.stdout)
    assert {"server.work.run", "server.work.s3.bucket", "server.work.station"} <= set(before)
    assert by_batches == []
