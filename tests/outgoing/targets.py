"""Hosts that a user may name, and the names that the scene's DNS server knows."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["NAMES", "PUBLIC", "TARGETS", "TRAP", "Target"]

PUBLIC = "93.184.216.34"
_PUBLIC_6 = "2606:2800:220:1:248:1893:25c8:1946"
TRAP = "127.0.0.1"

# What each name stands for: one set of addresses a look-up, the last for ever.
NAMES: dict[str, list[list[str]]] = {
    "hooks.example": [[PUBLIC]],
    "localhost.hooks.example": [["127.0.0.1"]],
    "inner.hooks.example": [["10.1.2.3"]],
    "10.0.0.1.nip.io": [["10.0.0.1"]],
    "127.0.0.1.nip.io": [["127.0.0.1"]],
    "mixed.hooks.example": [[PUBLIC, "127.0.0.1"]],
    "inner6.hooks.example": [["fd00:ec2::254"]],
    "mixed6.hooks.example": [[_PUBLIC_6, "::1"]],
    "metadata.google.internal": [["169.254.169.254"]],
    "rebinding.hooks.example": [[PUBLIC], ["127.0.0.1"]],
}


@dataclass(frozen=True, slots=True)
class Target:
    """A URL.

    Attributes:
        is_public: it leads to a connection, to the public address and nowhere else.
        is_later: it is given when all others have been tried.
    """

    url: str
    is_public: bool = False
    is_later: bool = False


def _forbidden(host: str) -> Target:
    return Target(f"http://{host}/hook")


TARGETS = (
    # The machine itself, spelt in every way that the C library takes.
    *map(
        _forbidden,
        (
            "127.0.0.1", "127.0.0.1:9090", "127.1", "127.0.1", "2130706433", "0x7f.1",
            "0x7f000001", "0177.0.0.1", "017700000001", "0", "0.0.0.0", "[::]", "[::1]",
            "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[::127.0.0.1]", "[64:ff9b::7f00:1]",
            "[2002:7f00:1::]", "localhost", "localhost.", "LOCALHOST", "127.0.0.1.",
            "127\u30020\u30020\u30021", "\u2460\u2461\u2466.0.0.1",
        ),
    ),
    # Networks that are not public.
    *map(
        _forbidden,
        (
            "10.1.2.3", "167838211", "172.16.0.1", "172.31.255.254", "192.168.1.1", "100.64.0.1",
            "169.254.169.254", "2852039166", "0xa9fea9fe", "[::ffff:169.254.169.254]",
            "[fd00:ec2::254]", "[fe80::1]", "[fe80::1%25lo]", "[fec0::1]", "[ff02::1]",
            "192.0.0.8", "192.0.2.1", "198.18.0.1", "224.0.0.1", "240.0.0.1", "255.255.255.255",
            "[::ffff:10.0.0.1]", "[::ffff:192.168.1.1]", "[2001:db8::1]", "[2001::1]",
        ),
    ),
    # Names that stand for such addresses, also beside a public one.
    *map(_forbidden, (name for name in NAMES if not name.startswith(("hooks.", "rebinding.")))),
    # What is more or less than a host.
    *map(
        _forbidden,
        (
            f"user@{PUBLIC}", f"{PUBLIC}@127.0.0.1", f"127.0.0.1\\@{PUBLIC}",
            "127.0.0.1\r\nX-Evil: 1", "127.0.0.1\t", f"{PUBLIC} 127.0.0.1", f"{PUBLIC}:99999",
            "nobody-knows.example",
        ),
    ),
    Target("https://127.0.0.1/hook"),
    Target("https://169.254.169.254/latest/meta-data/"),
    Target("gopher://127.0.0.1/x"),
    Target("file:///etc/passwd"),
    Target("ftp://127.0.0.1/x"),
    # The connections that are allowed: they prove that the others could be seen.
    Target("http://hooks.example/hook", is_public=True),
    Target(f"http://{PUBLIC}/hook", is_public=True),
    Target(f"http://{PUBLIC}#@127.0.0.1/hook", is_public=True),
    # An answer that leads elsewhere is an answer, and none that is followed.
    Target("http://hooks.example/redirect-to-loopback", is_public=True),
    Target("http://hooks.example/redirect-to-metadata", is_public=True),
    # Public when it is asked for first, the machine itself from then on.
    Target("http://rebinding.hooks.example/hook", is_public=True),
    Target("http://rebinding.hooks.example/again", is_later=True),
)  # fmt: skip
