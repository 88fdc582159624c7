"""What the files should hold, kept in memory."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(eq=False)
class ModelFile:
    """One file, under however many names."""

    data: bytearray = field(default_factory=bytearray)
    xattrs: dict[str, bytes] = field(default_factory=dict)
    names: set[str] = field(default_factory=set)

    def write(self, offset: int, data: bytes) -> None:
        """As pwrite: a gap is zeros."""
        self._grow(offset + len(data))
        self.data[offset : offset + len(data)] = data

    def truncate(self, size: int) -> None:
        """As ftruncate: what is added is zeros."""
        self._grow(size)
        del self.data[size:]

    def _grow(self, size: int) -> None:
        if size > len(self.data):
            self.data.extend(bytes(size - len(self.data)))


class Model:
    """One directory of files by name."""

    def __init__(self) -> None:
        self.files: dict[str, ModelFile] = {}

    def create(self, name: str) -> ModelFile:
        file = self.files[name] = ModelFile(names={name})
        return file

    def link(self, old: str, new: str) -> None:
        file = self.files[old]
        self.files[new] = file
        file.names.add(new)

    def unlink(self, name: str) -> None:
        self.files.pop(name).names.discard(name)

    def rename(self, old: str, new: str) -> None:
        """As rename(2), which does nothing to two names of one file."""
        if self.files.get(new) is self.files[old]:
            return
        if new in self.files:
            self.unlink(new)
        file = self.files.pop(old)
        file.names.discard(old)
        file.names.add(new)
        self.files[new] = file
