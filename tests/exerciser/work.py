"""The operations: each is done on the system and on the model, and what comes back compared."""

from __future__ import annotations

import errno
import os
import random
from collections import Counter, deque
from typing import TYPE_CHECKING, NoReturn

from codec import synthetic
from tests.exerciser.model import Model, ModelFile

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.exerciser.systems import System

# Half of the names are of frames, and a file that is renamed or linked becomes the other kind.
NAMES = [f"{number}.{kind}" for number in range(6) for kind in ("dpx", "dat")]
LARGEST = 48_000
_HELD = 4
_REMEMBERED = 60
_XATTRS = ("user.note", "user.shot")


class Mismatch(Exception):
    """The system gave back something else than the model; tells what was done last."""


class Worker:
    """Works on one directory. One thread."""

    def __init__(self, system: System, seed: int) -> None:
        self._system = system
        self._random = random.Random(seed)
        self._frames = [synthetic.dpx_frame(96, 64, seed=number) for number in range(4)]
        self._noise = random.Random(seed).randbytes(1 << 16)
        self._model = Model()
        self._held: list[tuple[int, ModelFile]] = []
        self._done: deque[str] = deque(maxlen=_REMEMBERED)
        self.counts: Counter[str] = Counter()
        self._on_file: list[tuple[Callable[[int, ModelFile], None], int]] = [
            (self._read, 8),
            (self._write, 6),
            (self._append, 2),
            (self._truncate, 2),
            (self._rewrite, 1),
            (self._map_read, 2),
            (self._map_write, 2),
            (self._forget_pages, 2),
            (self._sync, 1),
            (self._attributes, 2),
        ]
        self._on_names: list[tuple[Callable[[], None], int]] = [
            (self._rename, 3),
            (self._link, 2),
            (self._unlink, 2),
            (self._hold, 3),
            (self._check_held, 3),
            (self._xattr, 3),
            (self._list, 1),
        ]

    @property
    def operations(self) -> int:
        return sum(self.counts.values())

    def run(self, operations: int) -> None:
        """At least so many operations, then everything is compared. Raises Mismatch."""
        until = self.operations + operations
        while self.operations < until:
            self._open_and_work()
            if self._random.random() < 0.5:
                self._pick(self._on_names)()
        self.check_everything()

    def check_everything(self) -> None:
        """Every file is what the model says."""
        self._list()
        for name, file in self._model.files.items():
            found = self._system.read_all(name)
            self._compare(f"all of {name}", found, bytes(file.data))
        while self._held:
            self._let_go(0)

    def _pick(self, choices: list[tuple[Callable[..., None], int]]) -> Callable[..., None]:
        calls, weights = zip(*choices, strict=True)
        return self._random.choices(calls, weights)[0]

    def _open_and_work(self) -> None:
        name = self._random.choice(NAMES)
        file = self._model.files.get(name)
        writable = file is None or self._random.random() < 0.6
        flags = os.O_RDWR | os.O_CREAT if writable else os.O_RDONLY
        if file is None:
            file = self._model.create(name)
        elif writable and self._random.random() < 0.1:
            flags |= os.O_TRUNC
            file.truncate(0)
        self._note(f"open {name} {flags:#o}")
        fd = self._system.open(name, flags)
        try:
            for _ in range(self._random.randrange(1, 16)):
                operation = self._pick(self._on_file)
                if writable or operation in (self._read, self._map_read, self._forget_pages):
                    operation(fd, file)
        finally:
            self._system.close(fd)

    # On an open file

    def _read(self, fd: int, file: ModelFile) -> None:
        offset, size = self._random.randrange(LARGEST), self._random.randrange(1, 20_000)
        self._note(f"read {offset}+{size}")
        found = self._system.pread(fd, size, offset)
        self._compare("read", found, bytes(file.data[offset : offset + size]))

    def _write(self, fd: int, file: ModelFile) -> None:
        data = self._some_bytes()
        offset = self._random.randrange(LARGEST - len(data))
        self._note(f"write {offset}+{len(data)}")
        file.write(offset, data)
        self._compare("written", self._system.pwrite(fd, data, offset), len(data))

    def _append(self, fd: int, file: ModelFile) -> None:
        data = self._some_bytes()[: LARGEST - len(file.data)]
        self._note(f"append {len(data)}")
        offset = self._system.size_and_links(fd)[0]
        self._compare("end", offset, len(file.data))
        file.write(offset, data)
        self._compare("appended", self._system.pwrite(fd, data, offset), len(data))

    def _truncate(self, fd: int, file: ModelFile) -> None:
        size = self._random.randrange(LARGEST)
        self._note(f"truncate {size}")
        file.truncate(size)
        self._system.truncate(fd, size)

    def _rewrite(self, fd: int, file: ModelFile) -> None:
        """A whole frame again, so that there is something to compress."""
        frame = self._random.choice(self._frames)
        self._note("rewrite")
        file.truncate(0)
        file.write(0, frame)
        self._system.truncate(fd, 0)
        self._compare("rewritten", self._system.pwrite(fd, frame, 0), len(frame))

    def _map_read(self, fd: int, file: ModelFile) -> None:
        if not file.data:
            return
        self._note("map and read")
        found = self._system.map_read(fd, len(file.data))
        self._compare("mapped", found, bytes(file.data))

    def _map_write(self, fd: int, file: ModelFile) -> None:
        if not file.data:
            return
        data = self._some_bytes()[: len(file.data)]
        offset = self._random.randrange(len(file.data) - len(data) + 1)
        self._note(f"map and write {offset}+{len(data)}")
        flush = self._random.random() < 0.5
        self._system.map_write(fd, len(file.data), offset, data, flush)
        file.write(offset, data)

    def _forget_pages(self, fd: int, file: ModelFile) -> None:
        """What is read next comes from the daemon."""
        self._note("forget pages")
        self._system.forget_pages(fd)

    def _sync(self, fd: int, file: ModelFile) -> None:
        self._note("sync")
        self._system.sync(fd, self._random.random() < 0.5)

    def _attributes(self, fd: int, file: ModelFile) -> None:
        self._note("attributes")
        expected = len(file.data), len(file.names)
        self._compare("size and links", self._system.size_and_links(fd), expected)

    def _some_bytes(self) -> bytes:
        """From one byte to some thousand, of noise, a frame, or zeros."""
        size = self._random.choice((1, 7, 64, 512, 4096, 9000))
        source = self._random.choice((self._noise, *self._frames, bytes(1 << 16)))
        offset = self._random.randrange(len(source) - size)
        return source[offset : offset + size]

    # On names

    def _rename(self) -> None:
        old, new = self._random.choice(NAMES), self._random.choice(NAMES)
        self._note(f"rename {old} {new}")
        error = None if old in self._model.files else errno.ENOENT
        self._expect(error, lambda: self._system.rename(old, new))
        if error is None:
            self._model.rename(old, new)

    def _link(self) -> None:
        old, new = self._random.choice(NAMES), self._random.choice(NAMES)
        self._note(f"link {old} {new}")
        error = None
        if old not in self._model.files:
            error = errno.ENOENT
        elif new in self._model.files:
            error = errno.EEXIST
        self._expect(error, lambda: self._system.link(old, new))
        if error is None:
            self._model.link(old, new)

    def _unlink(self) -> None:
        name = self._random.choice(NAMES)
        self._note(f"unlink {name}")
        error = None if name in self._model.files else errno.ENOENT
        self._expect(error, lambda: self._system.unlink(name))
        if error is None:
            self._model.unlink(name)

    def _hold(self) -> None:
        """Keeps a file open to be looked at later, whatever becomes of its name."""
        name = self._random.choice(NAMES)
        if name not in self._model.files:
            return
        if len(self._held) == _HELD:
            self._let_go(self._random.randrange(_HELD))
        self._note(f"hold {name}")
        fd = self._system.open(name, os.O_RDONLY)
        self._held.append((fd, self._model.files[name]))

    def _check_held(self) -> None:
        if self._held:
            fd, file = self._random.choice(self._held)
            self._note("check held")
            self._compare("held", self._system.pread(fd, LARGEST, 0), bytes(file.data))

    def _let_go(self, index: int) -> None:
        fd, file = self._held.pop(index)
        found = self._system.pread(fd, LARGEST, 0)
        self._system.close(fd)
        self._compare("let go", found, bytes(file.data))

    def _xattr(self) -> None:
        name, key = self._random.choice(NAMES), self._random.choice(_XATTRS)
        file = self._model.files.get(name)
        if file is None:
            return
        self._note(f"xattr {name} {key}")
        if key in file.xattrs:
            self._compare("xattr", self._system.get_xattr(name, key), file.xattrs[key])
            if self._random.random() < 0.3:
                self._system.remove_xattr(name, key)
                del file.xattrs[key]
        else:
            self._expect(errno.ENODATA, lambda: self._system.get_xattr(name, key))
            file.xattrs[key] = self._some_bytes()[:64]
            self._system.set_xattr(name, key, file.xattrs[key])

    def _list(self) -> None:
        self._note("list")
        self._compare("names", sorted(self._system.names()), sorted(self._model.files))

    # Comparing

    def _note(self, what: str) -> None:
        self.counts[what.partition(" ")[0]] += 1
        self._done.append(what)

    def _expect(self, code: int | None, call: Callable[[], object]) -> None:
        found = None
        try:
            call()
        except OSError as error:
            found = error.errno
        self._compare("errno", found, code)

    def _compare(self, what: str, found: object, expected: object) -> None:
        if found != expected:
            self._fail(what, found, expected)

    def _fail(self, what: str, found: object, expected: object) -> NoReturn:
        if isinstance(found, bytes) and isinstance(expected, bytes):
            pairs = enumerate(zip(found, expected, strict=False))
            first = next((at for at, (a, b) in pairs if a != b), min(len(found), len(expected)))
            found = f"{len(found)} bytes, first wrong at {first}: {found[first : first + 16]!r}"
            expected = f"{len(expected)} bytes: {expected[first : first + 16]!r}"
        done = "\n".join(self._done)
        raise Mismatch(
            f"operation {self.operations}: {what} is {found}, should be {expected}; last:\n{done}"
        )
