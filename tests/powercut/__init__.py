"""Power cuts through a mount: what fsync promised is there when the power comes back.

A backing file system on a loop image is shut down in the middle of work (the shutdown ioctl of
ext4 and XFS, without flushing the journal), as a power cut would leave it. See docs/durability.md.
"""

from __future__ import annotations
