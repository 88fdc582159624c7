"""A network of its own in which every address is this machine, with a DNS server and a trap.

Whatever is connected to answers, so that a connection that should not have been made is not only
seen by the kernel but has an effect.
"""

from __future__ import annotations

import http.server
import os
import shutil
import socket
import socketserver
import struct
import subprocess
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

__all__ = ["Names", "NoNetwork", "Trap", "enter", "is_inside", "names_known", "trap_set", "wire"]

_MARK = "PIXFS_OUTGOING_INSIDE"
_SBIN = os.pathsep.join((os.environ.get("PATH", ""), "/usr/sbin", "/sbin"))
_A, _AAAA = 1, 28


def is_inside() -> bool:
    """Whether this process was started by `enter`."""
    return _MARK in os.environ


class NoNetwork(Exception):
    """No network of its own can be made here."""


def enter(*command: str) -> int:
    """Runs a command in a network of its own; its exit status. Raises NoNetwork."""
    missing = [name for name in ("unshare", "ip", "mount") if not shutil.which(name, path=_SBIN)]
    if missing:
        raise NoNetwork(f"not installed: {', '.join(missing)}")
    options = ["--net", "--mount"] + ([] if os.geteuid() == 0 else ["--user", "--map-root-user"])
    if subprocess.run(["unshare", *options, "true"], capture_output=True).returncode:
        raise NoNetwork("a network of its own is not allowed here")
    environment = os.environ | {_MARK: "1", "PATH": _SBIN}
    return subprocess.run(["unshare", *options, *command], env=environment).returncode


def wire(base: Path) -> None:
    """Makes every address one of this machine, and its DNS server the one of `names_known`."""
    for command in (
        "ip link set lo up",
        "ip -4 route add local 0.0.0.0/0 dev lo",
        "ip -6 route add local ::/0 dev lo",
    ):
        subprocess.run(command.split(), check=True)
    files = {
        "/etc/resolv.conf": "nameserver 127.0.0.1\noptions timeout:5 attempts:1\n",
        "/etc/hosts": "127.0.0.1 localhost\n::1 localhost\n",
        "/etc/nsswitch.conf": "hosts: files dns\n",
    }
    for path, text in files.items():
        own = base / Path(path).name
        own.write_text(text)
        subprocess.run(["mount", "--bind", str(own), path], check=True)
    cache = Path("/run/nscd")
    if cache.is_dir():
        # It is asked before any server of names is.
        subprocess.run(["mount", "-t", "tmpfs", "none", str(cache)], check=True)


class Names:
    """What the names stand for, one set of addresses a look-up, the last for ever."""

    def __init__(self, names: Mapping[str, Sequence[Sequence[str]]]) -> None:
        self._names = {name: list(answers) for name, answers in names.items()}
        self._asked: dict[tuple[str, int], int] = {}

    def forget(self) -> None:
        """From now on it is as if nobody had asked."""
        self._asked.clear()

    def answer(self, query: bytes) -> bytes:
        """The response to a query of the DNS."""
        labels, at = [], 12
        while length := query[at]:
            labels.append(query[at + 1 : at + 1 + length].decode("latin1"))
            at += length + 1
        kind = struct.unpack_from(">H", query, at + 1)[0]
        question = query[12 : at + 5]
        name = ".".join(labels).lower()
        records = [_record(text, kind) for text in self._next(name, kind) if _is_of(text, kind)]
        code = 0 if name in self._names else 3
        head = query[:2] + struct.pack(">HHHHH", 0x8180 | code, 1, len(records), 0, 0)
        return head + question + b"".join(records)

    def _next(self, name: str, kind: int) -> Sequence[str]:
        answers = self._names.get(name)
        if not answers:
            return []
        turn = self._asked.get((name, kind), 0)
        self._asked[name, kind] = turn + 1
        return answers[min(turn, len(answers) - 1)]


def _is_of(address: str, kind: int) -> bool:
    return kind == (_AAAA if ":" in address else _A)


def _record(address: str, kind: int) -> bytes:
    """A resource record for the question's name that may be kept for no time."""
    family = socket.AF_INET6 if kind == _AAAA else socket.AF_INET
    data = socket.inet_pton(family, address)
    return struct.pack(">HHHIH", 0xC00C, kind, 1, 0, len(data)) + data


class _Resolver(socketserver.BaseRequestHandler):
    def __init__(self, names: Names, *rest: object) -> None:
        self._names = names
        super().__init__(*rest)  # type: ignore[arg-type]

    def handle(self) -> None:
        query, sock = self.request
        sock.sendto(self._names.answer(query), self.client_address)


@contextmanager
def names_known(names: Names) -> Iterator[None]:
    """A DNS server for the length of the block."""
    address, handler = ("127.0.0.1", 53), partial(_Resolver, names)
    with socketserver.UDPServer(address, handler) as server, _running(server):
        yield


@dataclass
class Trap:
    """What was asked of whom: (address that was connected to, path), in the order it came."""

    requests: list[tuple[str, str]] = field(default_factory=list)


class _Trapped(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def __init__(self, trap: Trap, *rest: object) -> None:
        self._trap = trap
        super().__init__(*rest)  # type: ignore[arg-type]

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self._trap.requests.append((self.connection.getsockname()[0], self.path))
        places = {
            "/redirect-to-loopback": "http://127.0.0.1/redirected",
            "/redirect-to-metadata": "http://169.254.169.254/redirected",
        }
        place = places.get(self.path.partition("?")[0])
        self.send_response(302 if place else 204)
        if place:
            self.send_header("Location", place)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def do_GET(self) -> None:
        self._trap.requests.append((self.connection.getsockname()[0], self.path))
        self.send_error(404)

    def log_message(self, format: str, *args: object) -> None:
        """Nothing is printed."""


@contextmanager
def trap_set(ports: Sequence[int]) -> Iterator[Trap]:
    """Takes every connection to these ports, whatever the address."""
    trap = Trap()
    servers = []
    for port in ports:
        server = _DualStack(("::", port), partial(_Trapped, trap))
        server.daemon_threads = True
        servers.append(server)
    try:
        for server in servers:
            threading.Thread(target=server.serve_forever, daemon=True).start()
        yield trap
    finally:
        for server in servers:
            server.shutdown()
            server.server_close()


class _DualStack(http.server.ThreadingHTTPServer):
    """IPv4 and IPv6 over one socket."""

    address_family = socket.AF_INET6

    def server_bind(self) -> None:
        self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        super().server_bind()


@contextmanager
def _running(server: socketserver.BaseServer) -> Iterator[None]:
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        thread.join()
