"""Vidispine's jobs: copies, moves, deletions, imports, packages; lists and controls of them."""

from __future__ import annotations

import hashlib
import json
import os
from typing import TYPE_CHECKING, Any

import pytest
import trio

from server.api.vidispine.bodies import read_document
from server.core.permissions import SYSTEM
from server.notify.egress import Egress
from tests.pixmover import PixMover
from tests.vidispine import TEXT, XML, Vidispine, working
from tests.webhooks import receiving

if TYPE_CHECKING:
    from pathlib import Path

    import xmlschema

    from server.core import Core
    from tests.serving import Served


async def test_a_file_is_copied_and_found_there(
    core: Core,
    admin: Vidispine,
    storages: tuple[str, str],
    tmp_path: Path,
    schema: xmlschema.XMLSchema,
) -> None:
    one, two = storages
    made = await admin.upload(one, "dune/a.dpx", b"frame")
    query = {
        "filename": "copies/b.dpx",
        "priority": "HIGHEST",
        "limitRate": "1000000000",
        "timeRequirement": "60",
        "jobmetadata": ["show=dune", "shot%3Dsh010"],
    }
    async with working(core):
        job = await admin.copy(made["id"], two, **query)
        assert (job["type"], job["priority"], job["user"]) == ("COPY_FILE", "HIGHEST", "admin")
        data = await admin.until_finished(job)
        assert (data["show"], data["shot"]) == ("dune", "sh010")
        assert (data["fileId"], data["limitRate"]) == (made["id"], "1000000000")
        copied = await admin.json("GET", f"/file/{data['targetFileId']}")
        assert (copied["path"], copied["storage"]) == ("copies/b.dpx", two)
        assert copied["hash"] == made["hash"]
    assert (tmp_path / "two/copies/b.dpx").read_bytes() == b"frame"
    assert (tmp_path / "one/dune/a.dpx").read_bytes() == b"frame"
    for path in (f"/job/{job['jobId']}", "/job"):
        schema.validate((await admin.call("GET", path, accept=XML)).text)
    row = (await admin.call("GET", f"/job/{job['jobId']}", accept=TEXT)).text
    assert row.split("\t")[:4] == [job["jobId"], "FINISHED", "COPY_FILE", "HIGHEST"]
    # It is the same job in every interface.
    seen = await core.jobs.get(SYSTEM, int(job["jobId"].removeprefix("VX-")))
    assert seen.state == "SUCCEEDED"


async def test_a_moved_file_leaves_its_place(
    core: Core, admin: Vidispine, storages: tuple[str, str], tmp_path: Path
) -> None:
    one, two = storages
    made = await admin.upload(one, "a.dpx", b"frame")
    async with working(core):
        job = await admin.copy(made["id"], two, move="True")
        assert job["type"] == "MOVE_FILE"
        await admin.until_finished(job)
    assert not (tmp_path / "one/a.dpx").exists()
    assert (tmp_path / "two/a.dpx").read_bytes() == b"frame"
    assert await admin.paths(f"/storage/{two}/file", state="CLOSED") == ["a.dpx"]
    assert await admin.paths(f"/storage/{one}/file", state="CLOSED") == []


async def test_a_deleted_file_is_gone_with_its_entity(
    core: Core, admin: Vidispine, storages: tuple[str, str], tmp_path: Path
) -> None:
    made = await admin.upload(storages[0], "a.dpx", b"frame")
    async with working(core):
        job = await admin.json("DELETE", f"/file/{made['id']}", priority="LOW")
        assert (job["type"], job["priority"]) == ("DELETE_FILE", "LOW")
        await admin.until_finished(job)
    assert not (tmp_path / "one/a.dpx").exists()
    await admin.call("GET", f"/file/{made['id']}", status=404)


async def test_a_storage_that_is_closed_gives_and_takes_nothing_back(
    admin: Vidispine, storages: tuple[str, str]
) -> None:
    """Whatever would change it is refused alike; a copy only takes from it."""
    one, two = storages
    made = await admin.upload(one, "a.dpx", b"frame")
    other = await admin.upload(two, "b.dpx", b"frame")
    method = (await admin.json("GET", f"/storage/{one}"))["method"][0]
    await admin.json("PUT", f"/storage/{one}/method/{method['id']}", write="false")
    for verb, address in (
        ("POST", f"/file/{made['id']}/storage/{two}?move=true"),
        ("POST", f"/file/{other['id']}/storage/{one}"),
        ("DELETE", f"/file/{made['id']}"),
        ("POST", f"/storage/{one}/file/data?path=c.dpx"),
        ("POST", f"/file/{made['id']}/data"),
    ):
        content = b"x" if address.endswith(("data", "c.dpx")) else None
        told = await admin.json(verb, address, content=content, status=403)
        assert told["forbidden"] == {
            "context": "storage",
            "id": one,
            "explanation": f"the storage {one} is read-only",
        }, address
    text = await admin.call("DELETE", f"/file/{made['id']}", status=403, accept=TEXT)
    assert text.text == (
        f"403 The operation is not allowed\r\nContext: storage\r\nID: {one}\r\n"
        f"Reason: the storage {one} is read-only\r\n"
    )
    assert (await admin.copy(made["id"], two))["status"] == "READY"


async def test_a_job_whose_storage_is_away_says_which_and_goes_on(
    core: Core, admin: Vidispine, storages: tuple[str, str], tmp_path: Path
) -> None:
    one, two = storages
    made = await admin.upload(one, "a.dpx", b"frame")
    (tmp_path / "two").rmdir()
    async with working(core):
        job = await admin.copy(made["id"], two)
        description = ""
        with trio.fail_after(120):
            while "; " not in description:
                told = await admin.json("GET", f"/job/{job['jobId']}")
                (step,) = told["log"]["task"]
                description = step["description"]
        assert (told["status"], step["status"]) == ("STARTED", "STARTED")
        assert description.startswith(f"Copying file; waits for the storage {two}, away since 20")
        assert "): goes on by itself when it is back, looks " in description
        (tmp_path / "two").mkdir()
        await admin.until_finished(job)
        (step,) = (await admin.json("GET", f"/job/{job['jobId']}"))["log"]["task"]
    assert step["description"] == "Copying file"


async def test_jobs_do_not_follow_links_that_lead_out(
    core: Core, admin: Vidispine, storages: tuple[str, str], tmp_path: Path
) -> None:
    one, two = storages
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret").write_bytes(b"canary")
    (tmp_path / "one/up").symlink_to(outside)
    (tmp_path / "one/link").symlink_to(outside / "secret")
    async with working(core):
        for path in ("up/secret", "link"):
            number = await admin.entity(one, path)
            await admin.json("PUT", f"/file/{number}/state/CLOSED")
            jobs = [
                await admin.copy(number, two),
                await admin.copy(number, two, move="true", filename=f"moved/{path}"),
                await admin.json("POST", f"/file/{number}/import"),
                await admin.json("DELETE", f"/file/{number}"),
            ]
            answer = await admin.call("PUT", f"/file/{number}/re-index", accept=TEXT)
            jobs.append({"jobId": answer.text.strip()})
            for job in jobs:
                await admin.until_ended(job)
    assert (outside / "secret").read_bytes() == b"canary"
    assert [path.name for path in outside.iterdir()] == ["secret"]
    copied = [path for path in (tmp_path / "two").rglob("*") if path.is_file()]
    assert all(path.is_symlink() or path.read_bytes() != b"canary" for path in copied)
    assert not any(file["hash"] for file in await found(admin) if "hash" in file)


async def found(client: Vidispine) -> list[dict[str, Any]]:
    listed: list[dict[str, Any]] = (await client.json("GET", "/storage/file", number=100))["file"]
    return listed


async def test_jobs_are_listed_and_controlled(
    admin: Vidispine, storages: tuple[str, str], schema: xmlschema.XMLSchema
) -> None:
    """No engine is at work: jobs stay as they are told to be."""
    one, two = storages
    jobs = []
    for name in "abc":
        made = await admin.upload(one, name, b"frame")
        jobs.append((await admin.copy(made["id"], two))["jobId"])

    async def listed(path: str = "/job", **query: object) -> list[str]:
        return [job["jobId"] for job in (await admin.json("GET", path, **query))["job"]]

    assert (await admin.json("GET", "/job"))["hits"] == 3
    assert await listed() == jobs[::-1]
    assert await listed("/job;first=2;number=1") == [jobs[1]]
    assert await listed("/job/;first=0;number=2") == [jobs[2], jobs[1]]
    assert await listed(sort="jobId asc", number=2) == jobs[:2]
    assert await listed(sort="jobId asc", first=3, number=2) == jobs[2:]
    assert await listed(first=9) == []
    assert await listed(user="true") == jobs[::-1]
    # Without effect, and no other word for it.
    assert await admin.json("GET", f"/job/{jobs[0]}", metadata="false")
    await admin.call("GET", f"/job/{jobs[0]}", metadata="null", status=400)
    changed = await admin.json("PUT", f"/job/{jobs[0]}", priority="IMMEDIATE")
    assert changed["priority"] == "IMMEDIATE"
    aborted = await admin.json("DELETE", f"/job/{jobs[1]}", reason="wrong one")
    assert aborted["status"] == "ABORTED"
    assert await listed(state="ABORTED") == [jobs[1]]
    assert await listed(state="READY,STARTED") == [jobs[2], jobs[0]]
    assert await listed(type="MOVE_FILE") == []
    assert await listed(type="copy_file", state="aborted") == [jobs[1]]
    # Vidispine's own words for what no job here can be find nothing, and are not refused.
    for query in ({"type": "PLACEHOLDER_IMPORT"}, {"state": "VIDINET_JOB,FINISHED_WARNING"}):
        assert await admin.json("GET", "/job", **query) == {"hits": 0, "job": []}
    assert await listed(type="THUMBNAIL,COPY_FILE", state="ALL") == jobs[::-1]
    assert await listed("/job;state=WAITING;state=ABORTED") == [jobs[1]]
    told = await admin.json("GET", f"/job/{jobs[1]}")
    assert told["log"]["task"][0]["errorMessage"] == "wrong one"
    assert {"key": "errorMessage", "value": "wrong one"} in told["data"]
    assert all("data" not in job for job in (await admin.json("GET", "/job"))["job"])
    refused = await admin.json("DELETE", f"/job/{jobs[1]}", status=409)
    assert refused["conflict"] == {
        "context": "job",
        "id": jobs[1],
        "explanation": "a job that is ABORTED cannot be told to abort",
        "value": None,
    }
    again = await admin.json("POST", f"/job/{jobs[1]}/re-run")
    assert again["status"] == "READY"
    await admin.call("POST", f"/job/{jobs[1]}/re-run", status=409)
    assert (await admin.json("GET", "/job/problem")) == {"problem": []}
    schema.validate((await admin.call("GET", "/job/problem", accept=XML)).text)
    for query in ({"state": "BROKEN"}, {"type": "DANCE"}, {"sort": "colour"}, {"first": "x"}):
        await admin.call("GET", "/job", status=400, **query)
    await admin.call("PUT", f"/job/{jobs[0]}", status=400)


async def test_a_job_that_failed_says_why(
    core: Core,
    admin: Vidispine,
    storages: tuple[str, str],
    tmp_path: Path,
    schema: xmlschema.XMLSchema,
) -> None:
    one, two = storages
    made = await admin.upload(one, "a.dpx", b"frame")
    (tmp_path / "two/a.dpx").write_bytes(b"other")
    async with working(core):
        job = await admin.until_ended(await admin.copy(made["id"], two))
    assert job["status"] == "FAILED_TOTAL"
    task = job["log"]["task"][0]
    assert task["errorMessage"].startswith("a.dpx: ")
    assert task["description"] == "Copying file"
    assert {"key": "errorMessage", "value": task["errorMessage"]} in job["data"]
    schema.validate((await admin.call("GET", f"/job/{job['jobId']}", accept=XML)).text)


async def test_a_notification_is_the_job_s_document(
    core: Core, admin: Vidispine, storages: tuple[str, str], tmp_path: Path
) -> None:
    """In this interface's words, with what the client gave along as it was."""
    one, two = storages
    made = await admin.upload(one, "a.dpx", b"frame")
    (tmp_path / "two/taken.dpx").write_bytes(b"other")
    given = "]]><x/>&amp; \u00e9 ticket=42"
    async with receiving(TAKEN) as receiver, working(core, Egress(("127.0.0.0/8",))):
        query = {"notification": receiver.url, "notificationData": given, "priority": "HIGH"}
        jobs = [
            await admin.copy(made["id"], two, **query),
            await admin.copy(made["id"], two, filename="taken.dpx", **query),
            await admin.json("POST", f"/file/{made['id']}/import", **query),
        ]
        for job in jobs:
            await admin.until_ended(job)
        last = await admin.json("DELETE", f"/file/{made['id']}", **query)
        with trio.fail_after(120):
            while len(receiver.requests) < 4:  # noqa: ASYNC110 - nobody tells
                await trio.sleep(0.02)
    told = {}
    for headers, body in receiver.requests:
        document = json.loads(body)
        told[document["jobId"]] = document, headers["x-pixfs-event"]
    events = ["job.finished", "job.failed_total", "job.finished", "job.finished"]
    for job, event in zip((*jobs, last), events, strict=True):
        seen = await admin.json("GET", f"/job/{job['jobId']}")
        del seen["totalSteps"], seen["log"]
        assert told[job["jobId"]] == (seen, event)
        assert {"key": "notificationData", "value": given} in seen["data"]
    xml = (await admin.call("GET", f"/job/{last['jobId']}", accept=XML)).text
    document = read_document(xml.encode(), XML, "JobDocument")
    assert document is not None
    pairs = {each.text_of("key"): each.text_of("value") for each in document.all("data")}
    assert pairs["notificationData"] == given


TAKEN = b"HTTP/1.1 204 No Content\r\ncontent-length: 0\r\n\r\n"


@pytest.mark.parametrize("name", ["LOWEST", "LOW", "MEDIUM", "HIGH", "HIGHEST", "IMMEDIATE", None])
async def test_each_priority_is_the_job_s(
    admin: Vidispine, storages: tuple[str, str], name: str | None
) -> None:
    """MEDIUM where none is given."""
    one, two = storages
    made = await admin.upload(one, "a", b"x")
    query = {} if name is None else {"priority": name}
    for job in (
        await admin.copy(made["id"], two, **query),
        await admin.json("POST", f"/file/{made['id']}/import", **query),
        await admin.json("DELETE", f"/file/{made['id']}", **query),
    ):
        assert job["priority"] == (name or "MEDIUM")
        assert (await admin.json("GET", f"/job/{job['jobId']}"))["priority"] == (name or "MEDIUM")


async def test_a_job_is_seen_in_the_other_interface(
    core: Core, admin: Vidispine, storages: tuple[str, str], server: Served
) -> None:
    """Each that this one starts, by its number and kind."""
    one, two = storages
    made = await admin.upload(one, "a", b"x")
    other = await admin.upload(one, "b", b"x")
    answer = await admin.call("PUT", f"/file/{made['id']}/re-index", accept=TEXT)
    started = {
        "copy": (await admin.copy(made["id"], two))["jobId"],
        "move": (await admin.copy(made["id"], two, move="true"))["jobId"],
        "import": (await admin.json("POST", f"/file/{made['id']}/import"))["jobId"],
        "delete": (await admin.json("DELETE", f"/file/{other['id']}"))["jobId"],
        "index": answer.text.strip(),
    }
    async with PixMover(server.port) as pixmover:
        await pixmover.login("admin")
        jobs = (await pixmover.get("/jobs")).json()["jobs"]
    assert {job["kind"]: f"VX-{job['id']}" for job in jobs} == started


async def test_a_finished_job_is_run_again_as_a_new_one(
    core: Core, admin: Vidispine, storages: tuple[str, str], tmp_path: Path
) -> None:
    one, two = storages
    made = await admin.upload(one, "a.dpx", b"frame")
    async with working(core):
        first = await admin.copy(made["id"], two)
        data = await admin.until_finished(first)
        (tmp_path / "two/a.dpx").unlink()
        await admin.call("DELETE", f"/file/{data['targetFileId']}/entity")
        again = await admin.json("POST", f"/job/{first['jobId']}/re-run")
        assert again["jobId"] != first["jobId"]
        told = {field["key"]: field["value"] for field in again["data"]}
        assert told["fileId"] == made["id"]
        assert "targetFileId" not in told
        data = await admin.until_finished(again)
        assert (tmp_path / "two/a.dpx").read_bytes() == b"frame"
        assert await admin.paths(storage=two) == ["a.dpx"]
        imported = await admin.json("POST", f"/file/{made['id']}/import")
        item = (await admin.until_finished(imported))["item"]
        rerun = f"/job/{imported['jobId']}/re-run"
        await admin.call("POST", rerun, status=409)
        await admin.call("PUT", f"/file/{made['id']}/abandon", item=item)
        data = await admin.until_finished(await admin.json("POST", rerun))
        assert data["item"] != item
        removed = await admin.json("DELETE", f"/file/{made['id']}")
        await admin.until_finished(removed)
        await admin.call("POST", f"/job/{removed['jobId']}/re-run", status=404)


async def test_a_file_is_looked_at_again(
    core: Core, admin: Vidispine, storages: tuple[str, str], tmp_path: Path
) -> None:
    made = await admin.upload(storages[0], "a.dpx", b"frame")
    (tmp_path / "one/a.dpx").write_bytes(b"another, longer frame")
    os.utime(tmp_path / "one/a.dpx", (1, 1))
    async with working(core):
        answer = await admin.call("PUT", f"/file/{made['id']}/re-index", accept=TEXT)
        await admin.until_finished({"jobId": answer.text.strip()})
    found = await admin.json("GET", f"/file/{made['id']}")
    assert found["size"] == 21
    assert (
        found["hash"] == hashlib.sha1(b"another, longer frame", usedforsecurity=False).hexdigest()
    )


async def test_a_storage_from_its_making_to_its_end(
    admin: Vidispine, tmp_path: Path, schema: xmlschema.XMLSchema
) -> None:
    (tmp_path / "one").mkdir()
    uri = (tmp_path / "one").as_uri() + "/"
    xml = (
        '<StorageDocument xmlns="http://xml.vidispine.com/schema/vidispine"><type>LOCAL</type>'
        f"<capacity>1500000</capacity><method><uri>{uri}</uri><read>true</read><write>true</write>"
        "<browse>true</browse></method><lowWatermark>5</lowWatermark></StorageDocument>"
    )
    answer = await admin.call(
        "POST", "/storage", content=xml.encode(), headers={"Content-Type": XML}, accept=XML
    )
    schema.validate(answer.text)
    listed = (await admin.json("GET", "/storage"))["storage"]
    assert len(listed) == 1
    made = listed[0]
    assert (made["type"], made["capacity"], made["lowWatermark"]) == ("LOCAL", 1500000, 5)
    assert made["method"][0]["uri"] == uri
    assert (await admin.call("GET", "/storage", accept=TEXT)).text == f"{made['id']}\r\n"
    schema.validate((await admin.call("GET", "/storage", accept=XML)).text)
    field = [{"key": "pixfs.name", "value": "nearline"}, {"key": "a", "value": "b"}]
    changed = await admin.json(
        "PUT",
        f"/storage/{made['id']}",
        body={"capacity": "7", "metadata": {"field": field}, "highWatermarkPercentage": "90"},
    )
    assert (changed["capacity"], changed["highWatermarkPercentage"]) == (7, 90)
    fields = {pair["key"]: pair["value"] for pair in changed["metadata"]["field"]}
    assert (fields["pixfs.name"], fields["a"]) == ("nearline", "b")
    method = f"/storage/{made['id']}/method"
    row = (await admin.call("PUT", f"{method}/?url=file:///export/", accept=TEXT)).text
    number, shown, kind = row.removesuffix("\r\n").split("\t")
    assert (shown, kind) == ("file:///export/", "NONE")
    assert len((await admin.json("GET", f"{method}/"))["method"]) == 2
    changed = await admin.json("PUT", f"{method}/{number}/", read="false", type="NFS")
    assert (changed["read"], changed["type"]) == (False, "NFS")
    assert await admin.json("GET", f"{method}/{number}") == changed
    for path in (method, f"{method}/{number}"):
        schema.validate((await admin.call("GET", path, accept=XML)).text)
    assert (await admin.call("DELETE", f"{method}/{number}")).content == b""
    missing = await admin.call("GET", f"{method}/{number}", status=404, accept=TEXT)
    assert "Type: storage-method\r\n" in missing.text
    await admin.call("POST", f"/storage/{made['id']}/rescan")
    for body, context in (
        ({"lowWatermark": -1}, "lowWatermark"),
        ({"highWatermarkPercentage": 101}, "highWatermarkPercentage"),
        ({"scanInterval": -5}, "scanInterval"),
        ({"capacity": "much"}, "capacity"),
        ({"autoDetect": "perhaps"}, "autoDetect"),
        ({"type": "TAPE"}, "type"),
        ({"metadata": {"field": [{"key": "pixfs.name", "value": "No Name!"}]}}, "pixfs.name"),
        ({"method": [{"uri": "file:///"}]}, "uri"),
        ({"method": [{"uri": "file:///sys/kernel/"}]}, "uri"),
    ):
        refused = await admin.json("PUT", f"/storage/{made['id']}", body=body, status=400)
        assert refused["invalidInput"]["context"] == context, refused
    gone = await admin.call("DELETE", f"/storage/{made['id']}", status=204)
    assert gone.content == b""
    await admin.call("GET", f"/storage/{made['id']}", status=404)
    for body in ({}, {"type": "LOCAL"}, {"method": [{"uri": "http://x/"}]}, {"method": [{}]}):
        await admin.call("POST", "/storage", status=400, body=body)
