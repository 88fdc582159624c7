"""Settings from files, options and flags: what wins, and what is refused with which words."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from pixfs.config import (
    _POLICY_TYPES,
    POLICY_KEYS,
    RATE_KEYS,
    MountSettings,
    parse_option_lists,
    read_config,
)
from pixfs.configfile import mountpoint_in, paths_in
from pixfs.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path


def written(tmp_path: Path, text: str) -> str:
    path = tmp_path / "volume.toml"
    path.write_text(text)
    return str(path)


def test_a_file_with_everything(tmp_path: Path) -> None:
    settings = read_config(
        written(
            tmp_path,
            'backing = "/b"\nmountpoint = "/m"\nlog = "/l"\nsettle_s = 5\nlevel = "max"\n'
            'mode = "manual"\ninclude = ["*.dpx"]\nexclude = "*.tmp"\nrescan = false\n'
            'cache_bytes = 1000000\noptions = ["ro", "noexec"]\n',
        )
    )
    assert (settings.backing, settings.mountpoint, settings.log) == ("/b", "/m", "/l")
    assert settings.policy.settle_s == 5.0
    assert settings.policy.include == ("*.dpx",)
    assert settings.policy.exclude == ("*.tmp",)
    assert not settings.policy.rescan
    assert settings.options == {"ro", "noexec"}
    assert settings.is_read_only


def test_a_mount_point_is_read_without_the_rest(tmp_path: Path) -> None:
    code = (
        "import sys\n"
        "from pixfs.cli.main import main\n"
        "assert main(['umount', '--stale', '--config', sys.argv[1]]) == 0\n"
        "assert not {'codec', 'pixfs.volume', 'trio'} & set(sys.modules)\n"
    )
    path = written(tmp_path, f'mountpoint = "{tmp_path}"\nunknown = 1\n')
    subprocess.run([sys.executable, "-c", code, path], check=True)
    assert mountpoint_in(path) == str(tmp_path)
    for text in ("", "mountpoint = 1", "mountpoint = "):
        with pytest.raises(ConfigError):
            mountpoint_in(written(tmp_path, text))


def test_who_starts_a_daemon_loads_none_of_what_it_loads(tmp_path: Path) -> None:
    """Loading the codec twice made up half of the time that a mount took."""
    code = (
        "import sys\n"
        "from pixfs.cli.main import main\n"
        "assert main(['mount', *sys.argv[1:]]) == 1\n"
        "assert not {'codec', 'pixfs.volume', 'trio'} & set(sys.modules)\n"
    )
    paths = [tmp_path / "none", tmp_path, "--log", tmp_path / "log"]
    failed = subprocess.run(
        [sys.executable, "-c", code, *paths], check=True, capture_output=True, text=True
    )
    assert "none does not exist" in failed.stderr


def test_paths_are_found_without_the_rest(tmp_path: Path) -> None:
    path = written(tmp_path, 'backing = "/b"\nlog = "/l"\nmountpoint = 1\nunknown = 1\n')
    assert paths_in(path, []) == {"backing": "/b", "log": "/l"}
    assert paths_in(path, ["ro,backing=/c", "mountpoint=/m=1,log"]) == {
        "backing": "/c",
        "log": "/l",
        "mountpoint": "/m=1",
    }
    assert paths_in(None, []) == {}
    with pytest.raises(ConfigError):
        paths_in(str(tmp_path / "none"), [])


def test_every_policy_field_can_be_set() -> None:
    assert {*_POLICY_TYPES, *RATE_KEYS} == set(POLICY_KEYS)


def test_limits_are_rates(tmp_path: Path) -> None:
    settings = read_config(written(tmp_path, 'throttle_read = "1.5M"\nthrottle_write = 0\n'))
    assert (settings.policy.throttle_read, settings.policy.throttle_write) == (3 << 19, 0)
    assert settings.merged({"throttle_read": "unlimited"}).policy.throttle_read is None
    for value in ("fast", -1, True, None):
        with pytest.raises(ConfigError, match="throttle_read"):
            settings.merged({"throttle_read": value})


def test_options_win_over_the_file_and_undo_their_opposites(tmp_path: Path) -> None:
    settings = read_config(written(tmp_path, 'level = "max"\noptions = ["ro", "suid"]\n'))
    values, options = parse_option_lists(
        ["level=fast,cache_bytes=2M,rescan=no,rw", "nosuid,include=*.dpx,include=*.cin,settle_s=0"]
    )
    merged = settings.merged(values, options)
    assert merged.policy.level == "fast"
    assert merged.policy.cache_bytes == 2 << 20
    assert merged.policy.settle_s == 0
    assert merged.policy.include == ("*.dpx", "*.cin")
    assert not merged.policy.rescan
    assert merged.options == {"rw", "nosuid"}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("levle = 'max'", "unknown key 'levle'"),
        ("level = 7", "level must be a str"),
        ("level = 'best'", "level must be one of"),
        ("settle_s = true", "settle_s must be a float"),
        ("settle_s = -1", "settle_s must not be negative"),
        ("include = [1]", "include must be a list of globs"),
        ("backing = 3", "backing must be a text"),
        ("options = 'ro'", "options must be a list"),
        ("options = ['max_read']", "unknown mount option 'max_read'"),
        ("level =", "Invalid value"),
    ],
)
def test_a_wrong_file_is_refused_with_its_name(tmp_path: Path, text: str, words: str) -> None:
    path = written(tmp_path, text)
    with pytest.raises(ConfigError, match=words) as caught:
        read_config(path)
    assert path in str(caught.value)


def test_a_missing_file_is_refused() -> None:
    with pytest.raises(ConfigError, match="cannot read /nowhere"):
        read_config("/nowhere")


@pytest.mark.parametrize(
    ("option", "words"),
    [
        ("max_read=131072", "unknown option 'max_read'"),
        ("fsname", "unknown mount option"),
        ("rescan=perhaps", "rescan='perhaps' is not a bool"),
        ("min_size=4Q", "min_size='4Q' is not a int"),
    ],
)
def test_a_wrong_option_is_refused(option: str, words: str) -> None:
    def read() -> MountSettings:
        values, options = parse_option_lists([option])
        return MountSettings().merged(values, options)

    with pytest.raises(ConfigError, match=words):
        read()
