"""The control xattrs: what a file is and why, and the one way to ask for a conversion."""

from __future__ import annotations

import errno
import json
import logging
import os
from typing import TYPE_CHECKING, NamedTuple

import codec
from codec import CodecError
from pixfs.throttle import format_rate, parse_rate
from pixfs.volume import backing, verdict
from pixfs.volume.attributes import Signature
from pixfs.volume.contents import ContainerContent, Content
from pixfs.volume.errors import oserror
from pixfs.volume.heads import Kind
from pixfs.volume.metadata import HIDDEN_XATTRS

if TYPE_CHECKING:
    from collections.abc import Callable

    from pixfs.throttle import Limiter
    from pixfs.volume.attributes import Caller
    from pixfs.volume.core import Core
    from pixfs.volume.files import LogicalFile
    from pixfs.volume.heads import Head
    from pixfs.volume.nodes import Node

log = logging.getLogger(__name__)

PREFIX = b"user.pixfs."
_ACLS = (b"system.posix_acl_access", b"system.posix_acl_default")
_FILE_NAMES = (
    "state", "reason", "format", "size.logical", "size.stored", "ratio", "codec", "level",
    "hash", "encoded_at", "verify",
)  # fmt: skip
_LISTED_FILE_NAMES = tuple(name for name in _FILE_NAMES if name != "verify")
_THROTTLES = ("throttle.read", "throttle.write")
_DRAIN = "drain"
_SETTABLE = (_DRAIN, *_THROTTLES)
_ROOT_NAMES = ("stats", "policy", "backing", *_SETTABLE)
_YES_NO = {b"yes": True, b"no": False}


class Status(NamedTuple):
    """A file's state and the reason for it (empty when there is nothing to explain)."""

    state: str
    reason: str


class Control:
    """Computes and sets the control xattrs, and lets all others through to the backing.

    Any thread; all calls may block and raise OSError.
    """

    def __init__(
        self,
        core: Core,
        root: Node,
        backing_path: bytes,
        *,
        is_waiting: Callable[[Node], bool],
        stats: Callable[[], dict[str, object]],
        convert: Callable[[Node], None],
        restore: Callable[[Node], None],
    ) -> None:
        self._core = core
        self._root = root
        self._backing_path = backing_path
        self._is_waiting = is_waiting
        self._stats = stats
        self._convert = convert
        self._restore = restore

    # The four calls

    def get(self, node: Node, name: bytes, caller: Caller) -> bytes:
        """Value of an xattr. ENODATA, ENOTSUP (ACLs), EACCES."""
        if name.startswith(PREFIX):
            value = self._computed(node, name[len(PREFIX) :].decode("ascii", "replace"), caller)
            if value is None:
                raise oserror(errno.ENODATA)
            return value.encode("utf-8", "surrogateescape")
        if name.startswith(HIDDEN_XATTRS):
            raise oserror(errno.ENODATA)
        self._refuse_acl(name)
        return backing.get_xattr(node.fd, name)

    def list(self, node: Node, caller: Caller) -> list[bytes]:
        """Names of the xattrs: the user's own, and the control ones if the policy says so."""
        names = [
            name
            for name in backing.list_xattrs(node.fd)
            if not name.startswith(HIDDEN_XATTRS)
            and name not in _ACLS
            and (caller.uid == 0 or not name.startswith(b"trusted."))
        ]
        if self._core.policy.list_xattrs:
            names += [PREFIX + name.encode() for name in self._control_names(node)]
        return names

    def set(self, node: Node, name: bytes, value: bytes, flags: int, caller: Caller) -> None:
        """Sets an xattr, or converts (``user.pixfs.state``). EPERM, EBUSY, EINVAL ..."""
        if name == PREFIX + b"state" and node.is_regular:
            self._set_state(node, value, caller)
            return
        short = name[len(PREFIX) :].decode("ascii", "replace") if name.startswith(PREFIX) else ""
        if node is self._root and short in _SETTABLE:
            self._set_of_mount(short, value, caller)
            return
        self._refuse_control(name)
        self._refuse_acl(name)
        if node.file is None:
            backing.set_xattr(node.fd, name, value, flags)
            return
        with node.file.changing():
            backing.set_xattr(node.fd, name, value, flags)

    def remove(self, node: Node, name: bytes, caller: Caller) -> None:
        """Removes an xattr. ENODATA, EPERM."""
        self._refuse_control(name)
        self._refuse_acl(name)
        if node.file is None:
            backing.remove_xattr(node.fd, name)
            return
        with node.file.changing():
            backing.remove_xattr(node.fd, name)

    def _refuse_control(self, name: bytes) -> None:
        if name.startswith(HIDDEN_XATTRS):
            raise oserror(errno.EPERM)

    def _refuse_acl(self, name: bytes) -> None:
        # The mount checks modes, not ACLs: one that could be set would not be kept to.
        if name in _ACLS:
            raise oserror(errno.ENOTSUP)

    def _set_state(self, node: Node, value: bytes, caller: Caller) -> None:
        if caller.uid not in (0, backing.fstat(node.fd).st_uid):
            raise oserror(errno.EPERM)
        if value == b"compressed":
            self._convert(node)
        elif value == b"raw":
            self._restore(node)
        else:
            raise oserror(errno.EINVAL)

    def _limiter(self, name: str) -> Limiter:
        throttle = self._core.throttle
        return throttle.read if name == "throttle.read" else throttle.write

    def _set_of_mount(self, name: str, value: bytes, caller: Caller) -> None:
        # Who runs the volume may do with it what root may.
        if caller.uid not in (0, os.geteuid()):
            raise oserror(errno.EPERM)
        if name == _DRAIN:
            if value not in _YES_NO:
                raise oserror(errno.EINVAL)
            self._core.drains = _YES_NO[value]
        else:
            self._set_limit(name, value, caller)

    def _set_limit(self, name: str, value: bytes, caller: Caller) -> None:
        try:
            limit = parse_rate(value.decode("ascii"))
        except ValueError:
            raise oserror(errno.EINVAL) from None
        self._limiter(name).limit = limit
        self._core.throttle.on_change()
        log.info("%s is %s from now on (set by uid %d)", name, format_rate(limit), caller.uid)

    # What is computed

    def _control_names(self, node: Node) -> tuple[str, ...]:
        if node is self._root:
            return ("stats", "policy", *_SETTABLE)
        return _LISTED_FILE_NAMES if node.is_regular else ()

    def _computed(self, node: Node, name: str, caller: Caller) -> str | None:
        if node is self._root and name in _ROOT_NAMES:
            return self._of_root(name, caller)
        if node.file is None or name not in _FILE_NAMES:
            return None
        if name in ("state", "reason"):
            status = self.status(node)
            return status.state if name == "state" else status.reason
        if name in ("size.logical", "size.stored", "ratio"):
            return self._size(node.file, name)
        with node.file.opened() as content:
            return self._of_content(node.file, content, name)

    def _of_root(self, name: str, caller: Caller) -> str:
        if name == "stats":
            return json.dumps(self._stats())
        if name == "policy":
            return json.dumps(self._core.policy.to_json())
        if name == _DRAIN:
            return "yes" if self._core.drains else "no"
        if name in _THROTTLES:
            return format_rate(self._limiter(name).limit)
        if caller.uid not in (0, backing.fstat(self._root.fd).st_uid):
            raise oserror(errno.EACCES)
        return os.fsdecode(self._backing_path)

    def _size(self, file: LogicalFile, name: str) -> str:
        st, head = file.look()
        if name == "size.logical":
            return str(head.length)
        if name == "size.stored":
            return str(st.st_size)
        return f"{head.length / st.st_size:.3f}" if st.st_size else "1.000"

    def _of_content(self, file: LogicalFile, content: Content, name: str) -> str | None:
        if name == "verify":
            return self._verify(content)
        if name == "encoded_at":
            return content.reader.encoded_at if isinstance(content, ContainerContent) else None
        if isinstance(content, ContainerContent):
            reader = content.reader
            value = {
                "format": reader.format,
                "codec": reader.codec,
                "level": reader.level,
                "hash": reader.hash,
            }[name]
            return value or None
        if name == "format" and content.kind is not Kind.BAD:
            head = bytes(content.read(0, codec.PROBE_SIZE))
            return codec.probe(head, content.length).format
        return None

    def _verify(self, content: Content) -> str:
        if isinstance(content, ContainerContent):
            try:
                damages = content.reader.verify()
            except CodecError as error:
                return str(error)
            return "\n".join(str(damage) for damage in damages) or "ok"
        if content.kind is Kind.BAD:
            return content.head.reason
        offset = 0
        while piece := content.read(offset, 8 << 20):
            offset += len(piece)
        return "ok"

    def status(self, node: Node) -> Status:
        """A regular file's state and reason."""
        file = node.file
        if file is None:
            raise oserror(errno.ENODATA)
        while True:
            st, head = file.look()
            if head.kind is Kind.BAD:
                return Status("error", head.reason)
            if head.kind is Kind.CONTAINER:
                return self._container_status(file)
            status = self._raw_status(node, file, st, head)
            now, same = file.look()
            # What was found out may be of a container that has come meanwhile.
            if (Signature.of(now).key, same.kind) == (Signature.of(st).key, head.kind):
                return status

    def _raw_status(self, node: Node, file: LogicalFile, st: os.stat_result, head: Head) -> Status:
        found = self._core.verdicts.get(st)
        if self._is_waiting(node):
            return Status("queued", found.reason if found is not None else "")
        if found is not None:
            return Status(found.state, found.reason)
        if file.writers:
            return Status("raw", "open for writing")
        if st.st_nlink > 1:
            return Status("raw", "hard-linked")
        if head.kind is Kind.RAW and (reason := self._reason_to_leave(file)) is not None:
            return Status("verbatim", reason)
        return Status("raw", self._policy_reason(node))

    def _container_status(self, file: LogicalFile) -> Status:
        with file.opened() as content:
            if isinstance(content, ContainerContent):
                reason = content.reader.reason
                return Status("verbatim" if reason else "compressed", reason or "")
            return Status("error", content.head.reason)

    def _reason_to_leave(self, file: LogicalFile) -> str | None:
        fd = backing.reopen(file.node.fd, os.O_RDONLY)
        try:
            return verdict.reason_to_leave(self._core.policy, fd, backing.fstat(fd))
        finally:
            backing.close(fd)

    def _policy_reason(self, node: Node) -> str:
        if self._core.policy.mode == "manual":
            return "compressed on demand only"
        if not self._core.policy.wants(self._core.nodes.path(node)):
            return "excluded by the policy"
        return ""
