"""The request handlers: translate, call the volume in a worker thread, answer.

Handlers run as trio tasks, one per request, many at once. The handle tables are touched between
awaits only; the inode table is thread-safe and is used from the worker threads too, so that a
lookup's reference, its attributes and its count change hands in one thread hop.
"""

from __future__ import annotations

from pixfs.fuse.operations.attributes import AttributeHandlers
from pixfs.fuse.operations.directories import DirectoryHandlers
from pixfs.fuse.operations.files import FileHandlers
from pixfs.fuse.operations.names import NameHandlers
from pixfs.fuse.operations.xattrs import XattrHandlers


class Operations(NameHandlers, AttributeHandlers, FileHandlers, DirectoryHandlers, XattrHandlers):
    """One volume's request handlers; the session owns it and closes the volume after it."""
