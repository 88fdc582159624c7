"""The whole story through the official Python SDK (vidispine 5.0.4); runs in its environment.

usage: sdk_story.py URL PASSWORD FIRST-ROOT SECOND-ROOT FRAME
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

import vidispine
from vidispine import FileApi, ImportApi, JobApi, StorageApi
from vidispine.exceptions import ApiException

WAIT_S = 120


def status_of(files: FileApi, number: str) -> int:
    """The HTTP status with which a file is told of."""
    try:
        return int(files.get_file_with_http_info(number)[1])
    except ApiException as error:
        return int(error.status)


def main(url: str, password: str, first_root: str, second_root: str, frame: str) -> None:
    """Tell the story; any step that goes wrong ends it."""
    configuration = vidispine.Configuration(host=f"{url}/API", username="admin", password=password)
    client = vidispine.ApiClient(configuration)
    files, jobs = FileApi(client), JobApi(client)
    storages, imports = StorageApi(client), ImportApi(client)
    content = Path(frame).read_bytes()

    def make_storage(root: str) -> str:
        method = vidispine.StorageMethodType(
            uri=f"{Path(root).as_uri()}/", read=True, write=True, browse=True
        )
        return storages.create_storage(vidispine.StorageType(type="LOCAL", method=[method])).id

    def finish(job: Any) -> dict[str, str]:  # noqa: ANN401
        until = time.monotonic() + WAIT_S
        while (found := jobs.get_job(job.job_id)).status not in ("FINISHED", "FAILED_TOTAL"):
            assert time.monotonic() < until, found
            time.sleep(0.1)
        assert found.status == "FINISHED", found
        return {pair.key: pair.value for pair in found.data or ()}

    one, two = make_storage(first_root), make_storage(second_root)
    assert {one, two} <= {storage.id for storage in storages.get_storages().storage}
    assert storages.get_storage(one).state == "READY"

    made = files.create_file_in_storage(one, content, path="sdk/sh 010.1001.dpx", transfer_id="t1")
    assert (made.state, made.size, made.storage) == ("CLOSED", len(content), one)
    found = files.get_files(
        storage=[one], path="/sdk/*.dpx", wildcard=True, number=5, sort=["filename desc"],
        include_item=True, state=["OPEN", "CLOSED"],
    )  # fmt: skip
    assert (found.hits, [file.id for file in found.file]) == (1, [made.id]), found

    assert files.update_file_state("OPEN", made.id).state == "OPEN"
    assert files.update_file_state("CLOSED", made.id).state == "CLOSED"
    file_type = vidispine.FileType(path="sdk/placeholder.dpx", state="OPEN")
    placeholder = files.create_file_entity_on_storage(one, file_type)
    files.delete_file_entity(placeholder.id)

    job = files.create_file_move_or_copy_job(
        made.id, two, filename="copies/a.dpx", priority="HIGH", jobmetadata=["show=dune"]
    )
    assert (job.type, job.priority) == ("COPY_FILE", "HIGH")
    data = finish(job)
    assert data["show"] == "dune", data
    copied = files.get_file(data["targetFileId"])
    assert (copied.path, copied.storage) == ("copies/a.dpx", two)

    assert made.id in [one.file.id for one in imports.get_importables(number=100).element]
    item = finish(imports.import_file(made.id, vidispine.MetadataType()))["item"]
    shown = files.get_file(made.id, include_item=True)
    assert [each.id for each in shown.item] == [item], shown
    files.remove_file_from_item(made.id)

    for file in (made.id, copied.id):
        answer = files.get_file_data(file, _preload_content=False)
        assert answer.data == content
    finish(files.create_file_delete_job(copied.id))
    assert status_of(files, copied.id) == 404
    assert [each.job_id for each in jobs.get_jobs(number=1).job]
    finish(files.create_file_delete_job(made.id))
    print("told to the end")


if __name__ == "__main__":
    main(*sys.argv[1:])
