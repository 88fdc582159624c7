"""Folders and files through the API: what is shown, to whom, and that nothing leads out."""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING, Any

import pytest

from server.core.access import AllowedPath
from server.core.permissions import SYSTEM
from server.core.storages import StorageKind
from tests.frames import frame

if TYPE_CHECKING:
    from pathlib import Path

    from server.core import Core
    from tests.fuse_session import Mounted
    from tests.pixmover import PixMover
    from tests.serving import Served


@pytest.fixture
async def shows(core: Core, server: Served, tmp_path: Path) -> Path:
    """A plain directory with a shot, served as the storage "shows"."""
    root = tmp_path / "shows"
    shot = root / "dune/sh010"
    shot.mkdir(parents=True)
    for number in (*range(1001, 1011), 1020):
        (shot / f"bg.{number}.dpx").write_bytes(b"x" * 100)
    (shot / "notes.txt").write_text("hello")
    (shot / "masks").mkdir()
    (root / "alien").mkdir()
    (root / "alien" / "secret.dpx").write_bytes(b"y")
    await core.storages.add(SYSTEM, "shows", StorageKind.DIRECTORY, str(root))
    return root


async def names(client: PixMover, path: str, **query: object) -> list[str]:
    answer = await client.get("/folders", storage="shows", path=path, **query)
    assert answer.status_code == 200, answer.text
    return [item["name"] for item in answer.json()["items"]]


def changes(root: Path) -> dict[str, int]:
    """When everything below a folder was changed last."""
    return {str(path): path.lstat().st_mtime_ns for path in root.rglob("*")}


def unplug(directory: Path) -> None:
    directory.rename(directory.with_name("unplugged"))


async def test_a_folder_is_listed_as_sequences(as_wrangler: PixMover, shows: Path) -> None:
    answer = (await as_wrangler.get("/folders", storage="shows", path="dune/sh010")).json()
    assert [item["name"] for item in answer["items"]] == [
        "masks",
        "bg.[1001-1010,1020].dpx",
        "notes.txt",
    ]
    masks, sequence, notes = answer["items"]
    assert (masks["kind"], masks["size"]) == ("folder", None)
    assert sequence["frames"] == "1001-1010,1020"
    assert (sequence["count"], sequence["size"], sequence["stored_size"]) == (11, 1100, None)
    assert (notes["frames"], notes["size"]) == ("", 5)
    assert notes["modified_at"].endswith("Z")


async def test_pages_follow_each_other_without_gaps(as_wrangler: PixMover, shows: Path) -> None:
    every = await names(as_wrangler, "dune/sh010", group="false")
    paged: list[str] = []
    while len(page := await names(
        as_wrangler, "dune/sh010", group="false", limit=4, offset=len(paged)
    )):  # fmt: skip
        paged += page
    assert paged == every
    assert len(every) == 13


@pytest.mark.parametrize(("limit", "offset"), [(0, 0), (1001, 0), (-1, 0), (10**9, 0), (10, -1)])
async def test_a_page_has_bounds(
    as_wrangler: PixMover, shows: Path, limit: int, offset: int
) -> None:
    answer = await as_wrangler.get("/folders", storage="shows", limit=limit, offset=offset)
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid-value")


async def test_a_file_is_described(as_wrangler: PixMover, shows: Path) -> None:
    os.chmod(shows / "dune/sh010/notes.txt", 0o640)
    path = "//dune/./sh010/../sh010/notes.txt"
    answer = (await as_wrangler.get("/files", storage="shows", path=path)).json()
    assert answer["path"] == "dune/sh010/notes.txt"
    assert (answer["kind"], answer["size"], answer["mode"]) == ("file", 5, "640")
    assert (answer["stored_size"], answer["control"]) == (None, {})


@pytest.mark.parametrize(
    "path",
    [
        "..",
        "../shows",
        "dune/../../etc/passwd",
        "/../..",
        "link-out",
        "link-out/passwd",
        "link-up/other",
        "link-proc",
        "link-proc/root/etc/passwd",
        "loop-a/x",
        "dune\x00",
        "x" * 300,
        "a/" * 600,
    ],
)
async def test_no_path_leads_out(as_admin: PixMover, shows: Path, path: str) -> None:
    (shows.parent / "other").mkdir()
    (shows / "link-out").symlink_to("/etc")
    (shows / "link-up").symlink_to("..")
    (shows / "link-proc").symlink_to("/proc/self")
    (shows / "loop-a").symlink_to("loop-b")
    (shows / "loop-b").symlink_to("loop-a")
    before = sorted(os.listdir(shows.parent))
    for answer in (
        await as_admin.get("/folders", storage="shows", path=path),
        await as_admin.get("/files", storage="shows", path=f"{path}/passwd"),
        await as_admin.post("/folders", storage="shows", path=f"{path}/made"),
        await as_admin.post("/files/rename", storage="shows", path="alien", new_path=f"{path}/a"),
        await as_admin.post(
            "/files/rename", storage="shows", path=f"{path}/passwd", new_path="stolen"
        ),
        await as_admin.post("/folders/remove", storage="shows", path=f"{path}/other"),
    ):
        assert answer.status_code in (400, 404, 503), f"{answer.request.url}: {answer.text}"
        assert str(shows) not in answer.text
    assert sorted(os.listdir(shows.parent)) == before
    assert (shows / "alien" / "secret.dpx").exists()
    assert not (shows / "stolen").exists()


@pytest.mark.parametrize("name", ["\\..\\..", "%2e%2e", "..%c0%af..", "CON", "...", " .. "])
async def test_what_only_looks_like_a_way_out_is_a_name(
    as_admin: PixMover, shows: Path, name: str
) -> None:
    before = sorted(os.listdir(shows.parent))
    answer = await as_admin.post("/folders", storage="shows", path=f"{name}/made")
    assert answer.status_code == 200, answer.text
    assert (shows / name / "made").is_dir()
    assert sorted(os.listdir(shows.parent)) == before


async def test_a_link_is_shown_as_a_link_and_not_followed(as_admin: PixMover, shows: Path) -> None:
    (shows / "alien" / "passwd").symlink_to("/etc/passwd")
    answer = (await as_admin.get("/files", storage="shows", path="alien/passwd")).json()
    assert (answer["kind"], answer["size"]) == ("link", 0)
    items = (await as_admin.get("/folders", storage="shows", path="alien")).json()["items"]
    assert {item["name"]: item["kind"] for item in items}["passwd"] == "link"


async def test_a_name_that_is_no_utf_8_comes_back_as_it_was_listed(
    as_admin: PixMover, shows: Path
) -> None:
    (shows / os.fsdecode(b"plate\xff.dpx")).write_bytes(b"123")
    found = [name for name in await names(as_admin, "") if name.startswith("plate")]
    query = "storage=shows&path=plate%FF.dpx"
    answer = (await as_admin.http.get(f"/files?{query}")).json()
    assert (answer["path"], answer["size"]) == (found[0], 3)


async def test_folders_are_made_renamed_and_removed(as_wrangler: PixMover, shows: Path) -> None:
    async def post(call: str, /, **form: str) -> tuple[int, str]:
        answer = await as_wrangler.post(call, storage="shows", **form)
        return answer.status_code, answer.json().get("code", "")

    assert await post("/folders", path="dune/sh020/plates") == (200, "")
    assert (shows / "dune/sh020/plates").is_dir()
    assert await post("/folders", path="dune/sh020") == (409, "name-taken")
    assert await post("/files/rename", path="dune/sh020", new_path="dune/sh010") == (
        409,
        "name-taken",
    )
    assert await post("/files/rename", path="dune/sh020", new_path="dune/sh030") == (200, "")
    assert await post("/folders/remove", path="dune/sh030") == (409, "in-use")
    assert await post("/folders/remove", path="dune/sh030/plates") == (200, "")
    assert await post("/folders/remove", path="dune/sh030") == (200, "")
    assert await post("/folders/remove", path="dune/sh030") == (404, "not-found")
    assert await post("/folders/remove", path="dune/sh010/notes.txt") == (400, "invalid-value")
    assert await post("/folders/remove", path="") == (400, "invalid-value")
    assert sorted(os.listdir(shows / "dune")) == ["sh010"]


async def test_a_rename_never_replaces(as_wrangler: PixMover, shows: Path) -> None:
    answer = await as_wrangler.post(
        "/files/rename",
        storage="shows",
        path="alien/secret.dpx",
        new_path="dune/sh010/notes.txt",
    )
    assert answer.json()["code"] == "name-taken"
    assert (shows / "dune/sh010/notes.txt").read_text() == "hello"


async def test_a_read_only_storage_is_left_alone(
    as_admin: PixMover, as_wrangler: PixMover, shows: Path
) -> None:
    await as_admin.put("/storages/shows", read_only="true")
    answer = await as_wrangler.post("/folders", storage="shows", path="new")
    assert (answer.status_code, answer.json()["code"]) == (403, "storage-refused")
    assert not (shows / "new").exists()


async def test_a_user_sees_the_allowed_folders_and_what_leads_there(
    core: Core, as_wrangler: PixMover, shows: Path
) -> None:
    await core.users.set_access(
        SYSTEM, "wrangler", all_paths=False, paths=[AllowedPath("shows", "dune/sh010")]
    )
    assert await names(as_wrangler, "") == ["dune"]
    assert await names(as_wrangler, "dune") == ["sh010"]
    assert len(await names(as_wrangler, "dune/sh010")) == 3
    for path in ("alien", "dune/sh0", "dune/sh010x"):
        for answer in (
            await as_wrangler.get("/folders", storage="shows", path=path),
            await as_wrangler.get("/files", storage="shows", path=path),
            await as_wrangler.post("/folders", storage="shows", path=f"{path}/new"),
            await as_wrangler.post("/folders/remove", storage="shows", path=path),
        ):
            assert (answer.status_code, answer.json()["code"]) == (404, "not-found")
    moved = await as_wrangler.post(
        "/files/rename", storage="shows", path="dune/sh010/masks", new_path="alien/m"
    )
    assert moved.status_code == 404
    seen = await as_wrangler.post("/folders", storage="shows", path="dune/new")
    assert seen.status_code == 404, "a folder that only leads there may not be changed"
    assert (shows / "alien/secret.dpx").exists()


async def test_a_link_does_not_widen_what_a_user_may_reach(
    core: Core, as_wrangler: PixMover, shows: Path
) -> None:
    """Links between allowed folders are followed, links to others of the storage are not."""
    shot = shows / "dune/sh010"
    (shows / "shared" / "luts").mkdir(parents=True)
    (shows / "shared" / "luts" / "a.cube").write_text("lut")
    (shot / "masks" / "left").mkdir()
    (shows / "alien" / "deep").mkdir()
    (shows / "alien" / "deep" / "secret.dpx").write_bytes(b"z")
    for name, target in (
        ("to-shared", "../../shared"),
        ("to-alien", "../../alien"),
        ("to-root", "../.."),
        ("to-masks", "masks"),
    ):
        (shot / name).symlink_to(target)
    await core.users.set_access(
        SYSTEM,
        "wrangler",
        all_paths=False,
        paths=[AllowedPath("shows", "dune/sh010"), AllowedPath("shows", "shared")],
    )
    assert await names(as_wrangler, "dune/sh010/to-shared/luts") == ["a.cube"]
    assert await names(as_wrangler, "dune/sh010/to-masks/left") == []
    before = changes(shows)
    for way in ("to-alien", "to-alien/deep", "to-root", "to-root/alien"):
        path = f"dune/sh010/{way}"
        for answer in (
            await as_wrangler.get("/folders", storage="shows", path=path),
            await as_wrangler.get("/files", storage="shows", path=f"{path}/secret.dpx"),
            await as_wrangler.post("/folders", storage="shows", path=f"{path}/new"),
            await as_wrangler.post(
                "/files/rename",
                storage="shows",
                path=f"{path}/secret.dpx",
                new_path="dune/sh010/mine.dpx",
            ),
            await as_wrangler.post(
                "/files/rename",
                storage="shows",
                path="dune/sh010/notes.txt",
                new_path=f"{path}/notes.txt",
            ),
        ):
            assert (answer.status_code, answer.json()["code"]) == (404, "not-found"), path
    assert changes(shows) == before


async def test_a_link_that_flips_never_shows_what_is_not_allowed(
    core: Core, as_wrangler: PixMover, shows: Path
) -> None:
    """A thread points a link here and there while requests run."""
    shot = shows / "dune/sh010"
    await core.users.set_access(
        SYSTEM, "wrangler", all_paths=False, paths=[AllowedPath("shows", "dune/sh010")]
    )
    for folder, name in ((shot / "masks" / "x", "mask.dpx"), (shows / "alien" / "x", "secret.dpx")):
        folder.mkdir()
        (folder / name).write_bytes(b"x")
    over = threading.Event()
    flips = 0

    def flip() -> None:
        nonlocal flips
        while not over.is_set():
            for target in ("masks", "../../alien"):
                (shot / "next").symlink_to(target)
                os.replace(shot / "next", shot / "link")
                flips += 1

    flipper = threading.Thread(target=flip)
    flipper.start()
    seen: set[tuple[int, bool]] = set()
    try:
        for _ in range(150):
            answer = await as_wrangler.get("/folders", storage="shows", path="dune/sh010/link/x")
            assert "secret" not in answer.text
            seen.add((answer.status_code, "mask.dpx" in answer.text))
            file = "dune/sh010/link/x/secret.dpx"
            answer = await as_wrangler.get("/files", storage="shows", path=file)
            assert answer.status_code == 404
            made = await as_wrangler.post("/folders", storage="shows", path="dune/sh010/link/x/new")
            assert made.status_code in (200, 404, 409)
    finally:
        over.set()
        flipper.join()
    assert flips > 0
    assert seen <= {(200, True), (404, False)}
    assert sorted(os.listdir(shows / "alien" / "x")) == ["secret.dpx"]


async def test_a_storage_without_any_allowed_path_is_not_there(
    core: Core, as_wrangler: PixMover, shows: Path
) -> None:
    await core.users.set_access(SYSTEM, "wrangler", all_paths=False)
    assert (await as_wrangler.get("/storages")).json() == {"storages": []}
    assert (await as_wrangler.get("/folders", storage="shows")).status_code == 404


async def test_a_storage_jobs_work_on_is_not_removed(as_admin: PixMover, shows: Path) -> None:
    made = await as_admin.post("/jobs", kind="verify", source="shows", sources="dune")
    answer = await as_admin.post("/storages/shows/remove")
    assert (answer.status_code, answer.json()["code"]) == (409, "in-use")
    assert str(made.json()["id"]) in answer.text
    await as_admin.post(f"/jobs/{made.json()['id']}/cancel")
    assert (await as_admin.post("/storages/shows/remove")).status_code == 200


async def test_roots_are_shown_to_administrators_only(
    as_admin: PixMover, as_wrangler: PixMover, shows: Path
) -> None:
    (seen,) = (await as_admin.get("/storages")).json()["storages"]
    assert (seen["root"], seen["state"]) == (str(shows), "available")
    assert seen["total_bytes"] >= seen["free_bytes"] > 0
    (seen,) = (await as_wrangler.get("/storages")).json()["storages"]
    assert seen["root"] is None


async def test_a_storage_that_is_gone_says_so(as_admin: PixMover, shows: Path) -> None:
    unplug(shows)
    (seen,) = (await as_admin.get("/storages")).json()["storages"]
    assert (seen["state"], seen["total_bytes"]) == ("unavailable", None)
    answer = await as_admin.get("/folders", storage="shows")
    assert (answer.status_code, answer.json()["code"]) == (503, "storage-unavailable")
    assert str(shows) not in answer.text


@pytest.mark.parametrize(
    ("kind", "root", "status"),
    [
        ("directory", "relative/path", 400),
        ("directory", "/", 400),
        ("directory", "/proc/self", 400),
        ("directory", "/no/such/directory", 400),
        ("pixfs", "/tmp", 400),
        ("s3", "bucket", 400),
        ("tape", "/tmp", 400),
    ],
)
async def test_a_storage_that_cannot_be_used_is_not_added(
    as_admin: PixMover, kind: str, root: str, status: int
) -> None:
    answer = await as_admin.post("/storages", name="new", kind=kind, root=root)
    assert answer.status_code == status, answer.text
    assert (await as_admin.get("/storages")).json() == {"storages": []}


@pytest.mark.fuse
async def test_a_mount_tells_states_and_savings(
    core: Core, as_admin: PixMover, manual_mount: Mounted
) -> None:
    shot = manual_mount.path / "sh010"
    shot.mkdir()
    for number in (1, 2, 3):
        (shot / f"a.{number:04d}.dpx").write_bytes(frame(1000 + number))
    os.setxattr(shot / "a.0001.dpx", "user.pixfs.state", b"compressed")
    added = await as_admin.post(
        "/storages", name="nearline", kind="pixfs", root=str(manual_mount.path)
    )
    assert added.json()["state"] == "available", added.text
    answer = await as_admin.get("/folders", storage="nearline", path="sh010")
    (item,) = answer.json()["items"]
    assert (item["name"], item["count"]) == ("a.[0001-0003].dpx", 3)
    assert item["states"] == {"compressed": 1, "raw": 2}
    size = (shot / "a.0001.dpx").stat().st_size
    assert item["size"] == 3 * size
    assert 2 * size < item["stored_size"] < 3 * size
    assert item["saved"] == round(1 - item["stored_size"] / item["size"], 4)
    one: dict[str, Any] = (
        await as_admin.get("/files", storage="nearline", path="sh010/a.0001.dpx")
    ).json()
    assert one["control"]["state"] == "compressed"
    assert one["control"]["format"].startswith("dpx ")
    assert one["stored_size"] == item["stored_size"] - 2 * size
