"""Jobs as PixMover's clients see them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

from tests.vidispine import working

if TYPE_CHECKING:
    from pathlib import Path

    from server.core import Core
    from tests.pixmover import PixMover


async def test_a_job_that_waits_for_a_folder_to_be_quiet_says_so(
    core: Core, as_admin: PixMover, tmp_path: Path
) -> None:
    folder = tmp_path / "one" / "sh010"
    folder.mkdir(parents=True)
    (folder / "bg.1001.dpx").write_bytes(b"just written")
    made = {"name": "one", "kind": "directory", "root": str(tmp_path / "one")}
    assert (await as_admin.post("/storages", **made)).status_code == 200
    form = {"kind": "verify", "source": "one", "sources": "sh010", "quiet_s": "3600"}
    job = (await as_admin.post("/jobs", **form)).json()
    assert job["message"] == ""
    async with working(core):
        with trio.fail_after(120):
            while not job["message"]:
                job = (await as_admin.get(f"/jobs/{job['id']}")).json()
        (listed,) = (await as_admin.get("/jobs")).json()["jobs"]
        cancelled = (await as_admin.post(f"/jobs/{job['id']}/cancel")).json()
    for told in (job, listed):
        assert told["state"] == "RUNNING"
        assert told["message"].startswith(
            "waits until nothing has been written to its files for 3600 s, last to"
            " 'sh010/bg.1001.dpx': looks again in "
        )
    assert (cancelled["state"], cancelled["message"]) == ("CANCELLED", "")


async def test_a_verified_file_that_nothing_speaks_for_is_told_of(
    core: Core, as_admin: PixMover, tmp_path: Path
) -> None:
    """A plain file can be read to its end; what it should be nobody knows."""
    folder = tmp_path / "one"
    folder.mkdir(parents=True)
    for name in ("a", "b"):
        (folder / name).write_bytes(b"plain")
    made = {"name": "one", "kind": "directory", "root": str(folder)}
    assert (await as_admin.post("/storages", **made)).status_code == 200
    form = {"kind": "verify", "source": "one", "sources": ["a", "b"], "quiet_s": "0"}
    job = (await as_admin.post("/jobs", **form)).json()
    async with working(core):
        with trio.fail_after(120):
            while job["state"] != "SUCCEEDED":
                job = (await as_admin.get(f"/jobs/{job['id']}")).json()
    assert (job["files_done"], job["files_unproven"]) == (2, 2)
    assert job["message"] == (
        "2 of 2 files can be read to their end, and have no checksum that says what they should be"
    )


async def test_a_job_whose_storage_is_away_says_which_and_goes_on(
    core: Core, as_admin: PixMover, tmp_path: Path
) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        made = {"name": name, "kind": "directory", "root": str(tmp_path / name)}
        assert (await as_admin.post("/storages", **made)).status_code == 200
    (tmp_path / "one" / "bg.1001.dpx").write_bytes(b"frame")
    (tmp_path / "two").rmdir()
    form = {"kind": "copy", "source": "one", "sources": "bg.1001.dpx", "target": "two"}
    job = (await as_admin.post("/jobs", **form, quiet_s="0")).json()
    async with working(core):
        with trio.fail_after(120):
            while not job["message"]:
                job = (await as_admin.get(f"/jobs/{job['id']}")).json()
        (listed,) = (await as_admin.get("/jobs")).json()["jobs"]
        for told in (job, listed):
            assert told["state"] == "RUNNING"
            assert told["message"].startswith("waits for the storage two, away since 20")
            assert "): goes on by itself when it is back, looks " in told["message"]
        (tmp_path / "two").mkdir()
        with trio.fail_after(120):
            while job["state"] == "RUNNING":
                job = (await as_admin.get(f"/jobs/{job['id']}")).json()
    assert (job["state"], job["message"]) == ("SUCCEEDED", "")
