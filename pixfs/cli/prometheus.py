"""A mount's counters in Prometheus' text exposition format (version 0.0.4)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

# name, type, what it is, where it stands in the stats.
_METRICS: tuple[tuple[str, str, str, Callable[[Mapping[str, Any]], Any]], ...] = (
    ("converted_total", "counter", "files compressed", lambda s: s["converted"]),
    ("verbatim_total", "counter", "files left as they are", lambda s: s["verbatim"]),
    ("failed_total", "counter", "conversions that failed", lambda s: s["failed"]),
    ("restores_total", "counter", "files made raw again", lambda s: s["restores"]),
    ("logical_bytes_total", "counter", "bytes of files compressed", lambda s: s["bytes_in"]),
    ("stored_bytes_total", "counter", "bytes they became", lambda s: s["bytes_out"]),
    ("tiles_decoded_total", "counter", "tiles decoded", lambda s: s["tiles_decoded"]),
    ("read_errors_total", "counter", "reads answered with EIO", lambda s: s["eio"]),
    ("leftovers_total", "counter", "leftovers cleared", lambda s: s["leftovers_cleaned"]),
    ("queued_files", "gauge", "files that wait to be compressed", lambda s: s["queued"]),
    ("deferred_files", "gauge", "files that wait for space", lambda s: s["deferred"]),
    ("converting_files", "gauge", "conversions under way", lambda s: s["converting"]),
    ("looking", "gauge", "1 while a walk looks for raw files", lambda s: s["looking"]),
    ("nodes", "gauge", "inodes in use", lambda s: s["nodes"]),
    ("cache_bytes", "gauge", "decoded bytes held", lambda s: s["cache"]["bytes"]),
    ("cache_hits_total", "counter", "blocks found decoded", lambda s: s["cache"]["hits"]),
    ("cache_misses_total", "counter", "blocks decoded anew", lambda s: s["cache"]["misses"]),
)
# what it is of what the mount found at its start, where it stands in the stats' "recovered".
_RECOVERED: tuple[tuple[str, str, str], ...] = (
    ("recovered_daemons_total", "killed daemons cleared up after", "volumes"),
    ("interrupted_conversions_total", "conversions found cut off, to begin anew", "interrupted"),
    ("superseded_originals_total", "originals of finished conversions removed", "superseded"),
    ("recovered_rewrites_total", "rewrites found cut off and carried through", "rewrites"),
    ("lost_and_found_total", "unknown files moved to lost+found", "kept"),
)
_THROTTLE: tuple[tuple[str, str, str, str], ...] = (
    ("moved_bytes_total", "counter", "bytes moved by requests and conversions", "bytes"),
    ("moved_bytes_per_second", "gauge", "bytes moved of late", "rate"),
    ("limit_bytes_per_second", "gauge", "limit, +Inf without one", "limit"),
    ("waiting_requests", "gauge", "requests a limit holds back", "waiting"),
)


def exposition(mounts: Mapping[str, Mapping[str, Any]]) -> str:
    """The text for some mounts' stats, by mount point."""
    lines = []
    for name, kind, meaning, read in _METRICS:
        lines += _heading(name, kind, meaning)
        lines += [
            f"pixfs_{name}{{{_label('mount', mount)}}} {read(stats)}"
            for mount, stats in mounts.items()
        ]
    for name, meaning, key in _RECOVERED:
        lines += _heading(name, "counter", meaning)
        lines += [
            f"pixfs_{name}{{{_label('mount', mount)}}} {stats['recovered'][key]}"
            for mount, stats in mounts.items()
        ]
    for name, kind, meaning, key in _THROTTLE:
        lines += _heading(name, kind, meaning)
        for mount, stats in mounts.items():
            for direction, state in stats["throttle"].items():
                labels = f"{_label('mount', mount)},{_label('direction', direction)}"
                value = "+Inf" if state[key] is None else state[key]
                lines.append(f"pixfs_{name}{{{labels}}} {value}")
    return "\n".join(lines) + "\n"


def _heading(name: str, kind: str, meaning: str) -> list[str]:
    return [f"# HELP pixfs_{name} {meaning}", f"# TYPE pixfs_{name} {kind}"]


def _label(name: str, value: str) -> str:
    text = value.encode("utf-8", "replace").decode()
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'{name}="{escaped}"'
