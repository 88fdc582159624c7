"""Moving files between volumes as they are stored: no decoding, no encoding.

Blocking calls for worker threads and commands. Outside volumes the bytes are copied as they are
read.
"""

from __future__ import annotations

from pixfs.transfer.errors import AliasError, TransferError
from pixfs.transfer.places import Place, locate
from pixfs.transfer.tree import Options, Outcome, Transfer

__all__ = ["AliasError", "Options", "Outcome", "Place", "Transfer", "TransferError", "locate"]
