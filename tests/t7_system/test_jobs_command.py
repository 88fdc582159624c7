"""``pixfs jobs`` as people type it: what it asks of the server, and what it says when it cannot."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import threading
import time
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from queue import Queue
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from aiosmtpd.controller import Controller

from tests.serve_command import PIXFS, WAIT_S, Serve, serving

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from aiosmtpd.smtp import SMTP, Envelope, Session

pytestmark = pytest.mark.slow


class Terminal:
    """Somebody who types ``pixfs jobs``, at a server with two plain storages."""

    def __init__(self, server: Serve, base: Path) -> None:
        self.url = server.url.removesuffix("/pixmover/v1")
        self.client = httpx.Client(base_url=server.url, timeout=WAIT_S)
        self._password = server.password
        self.base = base
        self.environment = os.environ | {"XDG_STATE_HOME": str(base / "state")}
        self.session = base / "state" / "pixfs" / "session.json"

    def type(self, *arguments: str, given: str = "", status: int = 0) -> str:
        """What one command prints; it must end with ``status``."""
        done = subprocess.run(
            [*PIXFS, "jobs", *arguments],
            input=given,
            capture_output=True,
            text=True,
            env=self.environment,
            timeout=WAIT_S,
            check=False,
        )
        assert done.returncode == status, done.stdout + done.stderr
        assert "Traceback" not in done.stderr
        return done.stdout + done.stderr

    def log_in(self) -> None:
        """Here and through the interface."""
        given = self._password + "\n"
        self.type("login", self.url, "--user", "admin", "--password-stdin", given=given)
        self.send("POST", "/login", name="admin", password=self._password)

    def send(self, method: str, path: str, **form: str) -> dict[str, Any]:
        """What the interface answers."""
        answer = self.client.request(method, path, data=form)
        assert answer.status_code == 200, answer.text
        return dict(answer.json())


@pytest.fixture(scope="module")
def terminal(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Terminal]:
    base = tmp_path_factory.mktemp("jobs")
    config = base / "server.toml"
    config.write_text('[notifications]\nallow_networks = ["127.0.0.0/8"]\n')
    with serving(base / "data", "--config", str(config)) as server:
        terminal = Terminal(server, base)
        terminal.log_in()
        for name in ("one", "two"):
            (base / name / "sh010").mkdir(parents=True)
            terminal.send("POST", "/storages", name=name, kind="directory", root=str(base / name))
        (base / "one" / "sh010" / "bg.1001.dpx").write_bytes(b"frame")
        yield terminal
        terminal.client.close()


@contextmanager
def hooks() -> Iterator[tuple[str, Queue[dict[str, Any]]]]:
    """A receiver of webhooks: its URL, and the bodies it has taken."""
    taken: Queue[dict[str, Any]] = Queue()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(204)
            self.end_headers()
            taken.put(json.loads(body))

        def log_message(self, *_: object) -> None:
            """Says nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as listener:
        thread = threading.Thread(target=listener.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{listener.server_address[1]}/hook", taken
        finally:
            listener.shutdown()
            thread.join()


class Mailbox:
    """Keeps what it is sent."""

    def __init__(self) -> None:
        self.mails: Queue[Envelope] = Queue()

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        self.mails.put(envelope)
        return "250 OK"


@contextmanager
def mailbox() -> Iterator[tuple[int, Mailbox]]:
    """A mail server: its port, and what came."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    box = Mailbox()
    controller = Controller(box, hostname="127.0.0.1", port=port)
    controller.start()
    try:
        yield port, box
    finally:
        controller.stop()


def submit(terminal: Terminal, *arguments: str, status: int = 0) -> str:
    """A job that looks at nothing's age."""
    return terminal.type("submit", *arguments, "--quiet", "0", status=status)


def number(said: str) -> str:
    return said.split()[1]


def test_a_limit_is_the_jobs_own(terminal: Terminal) -> None:
    said = submit(terminal, "copy", "one:sh010", "--to", "two:limit", "--limit", "2M", "--watch")
    job = terminal.client.get(f"/jobs/{number(said)}").json()
    assert (job["limit_bps"], job["state"]) == (2 << 20, "SUCCEEDED")
    assert "1 done, 0 skipped, 0 failed; 5 B in " in said


def test_a_cancelled_copy_leaves_whole_files_only(terminal: Terminal, tmp_path: Path) -> None:
    """Cancelled in the middle of a file, between directories, with others copied already."""
    for name in ("from", "to"):
        (tmp_path / name).mkdir()
        terminal.send(
            "POST", "/storages", name=f"c-{name}", kind="directory", root=str(tmp_path / name)
        )
    files = {f"f.{number}.dpx": os.urandom(3 << 20) for number in range(1001, 1041)}
    for name, data in files.items():
        (tmp_path / "from" / name).write_bytes(data)
    said = submit(terminal, "copy", "c-from:f.%d.dpx", "--to", "c-to:", "--limit", "4M")
    to = tmp_path / "to"
    until(lambda: len(list(to.glob("f.*.dpx"))) > 1 and list(to.glob(".*pixfs-part")))
    assert "is CANCELLED" in terminal.type("cancel", number(said))
    until(lambda: not list(to.glob(".*")))
    left = {path.name: path.read_bytes() for path in to.iterdir()}
    assert 1 < len(left) < len(files)
    assert left.items() <= files.items()
    job = terminal.client.get(f"/jobs/{number(said)}").json()
    assert (job["state"], job["batches_running"]) == ("CANCELLED", 0)
    assert "an ended job can only be retried" in terminal.type("cancel", number(said), status=1)
    for name in ("from", "to"):
        terminal.send("POST", f"/storages/c-{name}/remove")


def until(is_true: Callable[[], object]) -> None:
    deadline = time.monotonic() + WAIT_S
    while not is_true():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.parametrize("limit", ["0", "-5", "fast", "unlimited"])
def test_a_limit_that_is_none_is_wrong_usage(terminal: Terminal, limit: str) -> None:
    text = submit(terminal, "copy", "one:sh010", "--to", "two:x", f"--limit={limit}", status=2)
    assert "argument --limit: " in text


def test_a_webhook_is_told_of_the_end(terminal: Terminal) -> None:
    with hooks() as (url, taken):
        said = submit(terminal, "verify", "one:sh010", "--webhook", url, "--label", "for Ada")
        told = taken.get(timeout=WAIT_S)
    assert told["event"] == "job.succeeded"
    assert (str(told["job"]["id"]), told["job"]["label"]) == (number(said), "for Ada")


def test_a_webhook_must_be_a_url(terminal: Terminal) -> None:
    for url in ("ftp://hooks.example/", "nonsense", "http://"):
        text = submit(terminal, "verify", "one:sh010", "--webhook", url, status=1)
        assert text.startswith("pixfs jobs: --webhook: ")
        assert "send the request again" not in text


def test_a_mail_comes_at_the_end(terminal: Terminal) -> None:
    with mailbox() as (port, box):
        account = {"host": "127.0.0.1", "port": str(port), "security": "none"}
        terminal.send("PUT", "/settings/mail", sender="pixfs@studio.example", **account)
        said = submit(terminal, "verify", "one:nothing", "--email", "ada@studio.example")
        mail = box.mails.get(timeout=WAIT_S)
    assert mail.rcpt_tos == ["ada@studio.example"]
    assert f"job {number(said)}".encode() in (mail.content or b"").lower()  # type: ignore[operator]


def test_an_address_must_be_one(terminal: Terminal) -> None:
    text = submit(terminal, "verify", "one:sh010", "--email", "ada at home", status=1)
    assert text.startswith("pixfs jobs: --email: ")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("copy", "one:sh010"), "a copy wants --to STORAGE:FOLDER"),
        (("verify", "one:sh010", "--to", "two:"), "a verify takes no --to"),
        (("copy", "one:a", "two:b", "--to", "two:"), "all of one storage"),
        (("copy", "sh010", "--to", "two:"), "'sh010': write STORAGE:PATH"),
        (("copy", "one:sh010", "--to", "two"), "'two': write STORAGE:PATH"),
    ],
)
def test_a_command_that_makes_no_sense_is_wrong_usage(
    terminal: Terminal, arguments: tuple[str, ...], says: str
) -> None:
    assert says in submit(terminal, *arguments, status=2)


def test_a_storage_that_is_not_there_is_named(terminal: Terminal) -> None:
    assert "source: there is no storage 'onne'" in submit(
        terminal, "copy", "onne:sh010", "--to", "two:", status=1
    )
    assert "--to: there is no storage 'too'" in submit(
        terminal, "copy", "one:sh010", "--to", "too:", status=1
    )
    lines = terminal.type("storages").splitlines()
    assert [line.split()[:3] for line in lines[1:]] == [
        ["one", "directory", "available"],
        ["two", "directory", "available"],
    ]


def test_a_list_tells_what_jobs_are_about(terminal: Terminal) -> None:
    said = submit(terminal, "copy", "one:sh010", "one:sh*", "--to", "two:list", "--watch")
    line = terminal.type("list", "--limit", "1").splitlines()[1]
    assert line.split()[0] == number(said)
    assert "one:sh010, +1 -> two:list" in line
    assert "argument --limit" in terminal.type("list", "--limit", "0", status=2)
    assert "argument --state" in terminal.type("list", "--state", "LOST", status=2)


def test_a_job_says_which_storage_it_waits_for(terminal: Terminal) -> None:
    two = terminal.base / "two"
    two.rename(terminal.base / "aside")
    job = number(submit(terminal, "copy", "one:sh010", "--to", "two:back"))
    try:
        with subprocess.Popen(
            [*PIXFS, "jobs", "watch", job],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=terminal.environment,
        ) as watching:
            assert watching.stdout is not None
            assert watching.stderr is not None
            told = watching.stderr.readline()
            assert told.startswith(f"job {job} waits for the storage two, away since 20")
            lines = terminal.type("list", "--limit", "1").splitlines()
            assert lines[2].startswith(f"job {job}: waits for the storage two, away since 20")
            (terminal.base / "aside").rename(two)
            assert watching.stdout.readline().startswith(f"job {job} SUCCEEDED: 1 done")
        assert watching.returncode == 0
    finally:
        if not two.exists():
            (terminal.base / "aside").rename(two)


@pytest.mark.parametrize("url", ["localhost:9090", "ftp://host", "http://", "http://h/pixmover"])
def test_an_address_that_is_none_is_wrong_usage(terminal: Terminal, url: str) -> None:
    text = terminal.type("login", url, "--password-stdin", given="x\n", status=2)
    assert "write http://HOST:PORT or https://HOST:PORT" in text


def test_a_server_that_is_not_there_is_named(terminal: Terminal) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{closed.getsockname()[1]}"
        text = terminal.type("login", url, "--password-stdin", given="x\n", status=1)
    assert f"{url} cannot be reached: " in text
    assert "is pixfs serve running there?" in text


def test_a_wrong_password_does_not_end_the_session(terminal: Terminal) -> None:
    arguments = ("login", terminal.url, "--user", "admin", "--password-stdin")
    text = terminal.type(*arguments, given="not the password\n", status=1)
    assert "the name or the password is wrong" in text
    terminal.type("list")


def test_a_session_that_has_ended_says_how_to_go_on(terminal: Terminal) -> None:
    terminal.log_in()
    kept = terminal.session.read_text()
    terminal.type("logout")
    assert "nobody is logged in: pixfs jobs login" in terminal.type("list", status=1)
    terminal.session.write_text(kept)
    assert "the session has ended: pixfs jobs login" in terminal.type("list", status=1)
    terminal.log_in()
