"""The services share the contract and nothing else; what decides does no I/O."""

import subprocess
import sysconfig
from pathlib import Path

from tests.stack import ROOT


def test_nobody_climbs_a_wall() -> None:
    """The walls are drawn in pyproject.toml."""
    linter = Path(sysconfig.get_path("scripts"), "lint-imports")
    done = subprocess.run(
        [linter, "--no-cache"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_shared_and_services_are_found_by_the_linter() -> None:
    """A package without __init__.py would pass unseen."""
    folders = {
        path.parent for top in ("services", "shared", "cli") for path in (ROOT / top).rglob("*.py")
    }
    assert [folder for folder in folders if not (folder / "__init__.py").exists()] == []
