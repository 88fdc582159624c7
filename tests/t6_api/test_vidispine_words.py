"""What Vidispine's face says is said in Vidispine's words, never in the server's own."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from server.api.vidispine.errors import fault_of, render_fault
from server.api.vidispine.rendering import JSON, TEXT, XML
from server.api.vidispine.words import (
    JOB_STATES,
    JOB_TYPES,
    OTHER_STATES,
    OTHER_TYPES,
    field_word,
    task_word,
    word,
)
from server.core.errors import InUse, InvalidValue, Ref, StorageUnavailable, WrongState
from server.core.jobs import CONTROLS, Control, JobKind, JobState
from server.core.jobs.states import allow
from server.core.permissions import Action, Role
from tests.vidispine import Vidispine, working

if TYPE_CHECKING:
    from server.core import Core
    from tests.serving import Served

# The server's words for states and rights.
_OURS = {state.value for state in JobState} | {action.value for action in Action}
OURS = re.compile(rf"\b({'|'.join(sorted(_OURS))})\b")


def test_every_kind_and_state_of_a_job_has_a_word() -> None:
    assert set(JOB_TYPES) == set(JobKind)
    assert len(set(JOB_TYPES.values())) == len(JobKind)
    assert set(JOB_STATES) == set(JobState)
    assert not OTHER_TYPES & set(JOB_TYPES.values())
    assert not OTHER_STATES & set(JOB_STATES.values())
    for kind in JobKind:
        assert task_word(kind)


def test_every_refusal_of_a_control_is_in_these_words() -> None:
    refused = 0
    for control in Control:
        for state in set(JobState) - CONTROLS[control]:
            with pytest.raises(WrongState) as error:
                allow(control, state, 7)
            refused += 1
            assert f"{state} cannot be told to {control}" in str(error.value)
            for accept in (XML, JSON, TEXT):
                told = render_fault(fault_of(error.value), accept).decode()
                assert OURS.search(told) is None, told
                assert JOB_STATES[state] in told
                assert "VX-7" in told
    assert refused > 10


def test_terms_of_every_sort_have_their_words() -> None:
    jobs = tuple(Ref("Job", number) for number in (3, 4))
    busy = InUse("jobs work on it: {jobs}", terms={"jobs": jobs}, about=Ref("Storage", 1, "near"))
    assert str(busy) == "jobs work on it: 3, 4"
    assert busy.told(word) == "jobs work on it: VX-3, VX-4"
    gone = StorageUnavailable("{storage} is away", terms={"storage": Ref("Storage", 2, "near")})
    assert (str(gone), gone.told(word)) == ("near is away", "VX-2 is away")
    kind = WrongState("no {kind}", terms={"kind": JobKind.COPY})
    assert (str(kind), kind.told(word)) == ("no copy", "no COPY_FILE")
    # What is no term is said as it is, braces too.
    assert InvalidValue("path", "{not} a {term}").told(word) == "path: {not} a {term}"


@pytest.mark.parametrize(
    ("field", "said"),
    [
        ("webhook", "notification"),
        ("root", "uri"),
        ("limit_bps", "limitRate"),
        ("scan_interval_s", "scanInterval"),
        ("low_watermark_percentage", "lowWatermarkPercentage"),
        ("show_importables", "showImportables"),
        ("name", "pixfs.name"),
        ("content-length", "Content-Length"),
        ("no-transcode", "no-transcode"),
        ("transferId", "transferId"),
    ],
)
def test_fields_have_the_names_that_clients_know(field: str, said: str) -> None:
    assert field_word(field) == said
    told = fault_of(InvalidValue(field, "it is wrong")).document.invalid_input
    assert told is not None
    assert (told.context, told.explanation) == (said, "it is wrong")


@pytest.mark.parametrize(
    ("user", "method", "path", "role"),
    [
        ("monitor", "POST", "/storage/VX-1/file", "_file_write"),
        ("monitor", "POST", "/file/VX-1/import", "_import"),
        ("monitor", "DELETE", "/job/VX-1", "_job_write"),
        ("wrangler", "DELETE", "/storage/VX-1", "_storage_write"),
    ],
)
async def test_a_missing_role_is_vidispine_s(
    server: Served, user: str, method: str, path: str, role: str
) -> None:
    async with Vidispine(server.port, user) as client:
        told = await client.json(method, path, status=403)
        assert told["forbidden"]["explanation"] == f"this needs the role {role}"
        for accept in (XML, JSON, TEXT):
            text = (await client.call(method, path, status=403, accept=accept)).text
            assert OURS.search(text) is None
            assert not any(one.value in text for one in Role)


async def test_a_finished_job_cannot_be_aborted_and_says_so(
    core: Core, admin: Vidispine, storages: tuple[str, str]
) -> None:
    """It named the server's own state, SUCCEEDED."""
    one, two = storages
    made = await admin.upload(one, "a.dpx", b"frame")
    async with working(core):
        job = await admin.json("POST", f"/file/{made['id']}/storage/{two}")
        await admin.until_finished(job)
    address = f"/job/{job['jobId']}"
    told = await admin.json("DELETE", address, status=409)
    assert told["conflict"] == {
        "context": "job",
        "id": job["jobId"],
        "explanation": "a job that is FINISHED cannot be told to abort",
        "value": None,
    }
    text = (await admin.call("DELETE", address, status=409, accept=TEXT)).text
    assert text == (
        "409 The request is in conflict with what there is\r\n"
        f"Context: job\r\nID: {job['jobId']}\r\n"
        "Reason: a job that is FINISHED cannot be told to abort\r\n"
    )
    told = await admin.json("PUT", address, priority="HIGH", status=409)
    assert told["conflict"]["explanation"] == (
        "a job that is FINISHED cannot be told to take another priority"
    )


async def test_a_job_that_waits_cannot_be_run_again_and_says_so(
    admin: Vidispine, storages: tuple[str, str]
) -> None:
    one, two = storages
    made = await admin.upload(one, "a.dpx", b"frame")
    job = await admin.json("POST", f"/file/{made['id']}/storage/{two}")
    told = await admin.json("POST", f"/job/{job['jobId']}/re-run", status=409)
    assert told["conflict"]["explanation"] == "a job that is READY cannot be told to re-run"


async def test_storages_and_jobs_are_named_by_their_ids(
    admin: Vidispine, storages: tuple[str, str]
) -> None:
    """A storage could be deleted under its jobs, and what came of that named it otherwise."""
    one, two = storages
    field = [{"key": "pixfs.name", "value": "nearline"}]
    await admin.json("PUT", f"/storage/{one}", body={"metadata": {"field": field}})
    made = await admin.upload(one, "a.dpx", b"frame")
    job = (await admin.json("POST", f"/file/{made['id']}/storage/{two}"))["jobId"]
    for storage in (one, two):
        told = await admin.json("DELETE", f"/storage/{storage}", status=409)
        assert told["conflict"] == {
            "context": "storage",
            "id": storage,
            "explanation": f"jobs work on it: {job}",
            "value": None,
        }
    await admin.call("DELETE", f"/job/{job}")
    await admin.call("DELETE", f"/storage/{one}", status=204)
    told = await admin.json("POST", f"/job/{job}/re-run", status=409)
    assert told["conflict"]["explanation"] == f"its storage {one} was removed"
    assert told["conflict"]["id"] == job
