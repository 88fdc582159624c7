"""Jobs done: choosing files on storages, moving their bytes, converting and deleting them.

Synchronous code for the engines' threads; knows storages and files, not HTTP.
"""

from __future__ import annotations
