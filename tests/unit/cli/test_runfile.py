import stat
from pathlib import Path

import pytest

from cli.runfile import InUse, Kept, claimed


def test_what_is_written_is_read_and_for_this_user_alone(tmp_path: Path) -> None:
    path = tmp_path / "up.json"
    Kept(redis_port=7000, key="nr_a_b").write(path)
    assert Kept.read(path) == Kept(redis_port=7000, key="nr_a_b")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"redis_port": "x"}', b"\xff"])
def test_a_file_that_cannot_be_read_counts_as_none(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "up.json"
    path.write_bytes(content)
    assert Kept.read(path) is None


def test_one_folder_is_claimed_once(tmp_path: Path) -> None:
    with claimed(tmp_path), pytest.raises(InUse), claimed(tmp_path):
        pass
    with claimed(tmp_path):
        pass
