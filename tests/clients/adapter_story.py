"""The whole story through vidispine-adapter 0.0.6; runs in its environment.

usage: adapter_story.py URL PASSWORD FIRST-ROOT SECOND-ROOT FRAME
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

import requests
from vidispine import Vidispine
from vidispine.errors import NotFound

WAIT_S = 120


def main(url: str, password: str, first_root: str, second_root: str, frame: str) -> None:
    """Tell the story; any step that goes wrong ends it."""
    vs = Vidispine(url=url, user="admin", password=password)
    content = Path(frame).read_bytes()

    def make_storage(root: str) -> str:
        method = {"uri": f"{Path(root).as_uri()}/", "read": "true", "write": "true"}
        return vs.storage.create({"type": "LOCAL", "method": [method]})["id"]

    def finish(job: dict[str, Any]) -> dict[str, str]:
        until = time.monotonic() + WAIT_S
        while (found := vs.job.get(job["jobId"]))["status"] not in ("FINISHED", "FAILED_TOTAL"):
            assert time.monotonic() < until, found
            time.sleep(0.1)
        assert found["status"] == "FINISHED", found
        return {pair["key"]: pair["value"] for pair in found["data"]}

    assert vs.version()["component"][0]["name"] == "API"
    one, two = make_storage(first_root), make_storage(second_root)
    assert {one, two} <= {storage["id"] for storage in vs.storage.list()["storage"]}
    assert vs.storage.update(one, {"lowWatermark": "5"})["lowWatermark"] == 5

    made = vs.client.post(
        f"storage/{one}/file/data",
        data=content,
        headers={"Content-Type": "application/octet-stream"},
        params={"path": "adapter/a.dpx"},
    )
    assert (made["state"], made["size"]) == ("CLOSED", len(content))
    query = {"path": "/adapter/?.dpx", "wildcard": True, "includeItem": True}
    found = vs.client.get("storage/file;number=5;sort=filename%20desc", params=query)
    assert (found["hits"], found["file"][0]["id"]) == (1, made["id"]), found

    assert vs.client.put(f"storage/file/{made['id']}/state/CLOSED")["state"] == "CLOSED"
    copied = finish(vs.client.post(f"storage/file/{made['id']}/storage/{two}"))["targetFileId"]
    item = finish(vs.client.post(f"storage/file/{made['id']}/import"))["item"]
    shown = vs.client.get(f"storage/file/{made['id']};includeItem=true")
    assert [each["id"] for each in shown["item"]] == [item]
    vs.client.put(f"storage/file/{made['id']}/abandon")

    # The adapter gives every answer back as text; bytes are fetched with what it is made of.
    for file in (made["id"], copied):
        address = f"{vs.client.base_url}storage/file/{file}/data"
        assert requests.get(address, auth=vs.client.auth, timeout=WAIT_S).content == content
    for file in (made["id"], copied):
        finish(vs.client.delete(f"storage/file/{file}"))
        try:
            vs.client.get(f"storage/file/{file}")
        except NotFound:
            continue
        raise AssertionError("the deleted file is still there")
    assert len(vs.client.get("job", params={"number": 2})["job"]) == 2
    assert vs.job.list_problems() is not None
    vs.storage.delete(one)
    print("told to the end")


if __name__ == "__main__":
    main(*sys.argv[1:])
