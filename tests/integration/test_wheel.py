"""The wheel holds all that runs, and nothing of the checkout is needed beside it."""

import subprocess
import sys
from pathlib import Path
from shutil import which

import pytest

from tests.stack import ROOT

CODE = ("services", "shared", "cli")


def files_of(folder: Path) -> set[str]:
    """Of the three packages, without what Python leaves there."""
    return {
        str(path.relative_to(folder))
        for top in CODE
        for path in (folder / top).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty folder with the wheel alone installed in it."""
    uv = which("uv", path=str(ROOT / ".tools" / "bin")) or which("uv")
    if uv is None:
        pytest.skip("uv is not there to build the wheel; `make setup` gets it")
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run([uv, "build", "--wheel", "--quiet", "--out-dir", folder], cwd=ROOT, check=True)
    (wheel,) = folder.glob("*.whl")
    target = folder / "installed"
    subprocess.run(
        [uv, "pip", "install", "--quiet", "--no-deps", "--target", target, wheel],
        cwd=folder,
        check=True,
    )
    return target


def test_the_three_names_are_all_it_adds(installed: Path) -> None:
    names = {path.name for path in installed.iterdir() if not path.name.startswith(".")}
    metadata = {name for name in names if name.endswith(".dist-info")}
    assert len(metadata) == 1
    assert names - metadata - {"bin"} == set(CODE)


def test_every_script_template_and_static_file_is_inside(installed: Path) -> None:
    inside = files_of(installed)
    assert "shared/streams/lua/append.lua" in inside
    assert files_of(ROOT) - inside == set()


def test_it_runs_away_from_the_checkout(installed: Path, tmp_path: Path) -> None:
    """-P and the path: nothing of the checkout, our dependencies from where they are."""
    where = "import shared.streams.append as it, cli.main; print(it.__file__)"
    done = subprocess.run(
        [sys.executable, "-P", "-c", where],
        cwd=tmp_path,
        env={"PYTHONPATH": str(installed)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert Path(done.stdout.strip()).is_relative_to(installed)
