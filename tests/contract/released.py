"""The contract as it was last released: `python -m tests.contract.released` writes it.

To be run with each release, and when an event gains a field that must stay.
"""

import json
from pathlib import Path
from typing import Any

from shared.events import EVENT_TYPES
from shared.schemas import json_schema

FOLDER = Path(__file__).parent / "released"


def read() -> dict[str, dict[str, Any]]:
    """Stream and schema of each event type."""
    return {path.stem: json.loads(path.read_text()) for path in FOLDER.glob("*.json")}


def write() -> None:
    for name, event in EVENT_TYPES.items():
        document = {"stream": event.stream.name, "schema": json_schema(event)}
        (FOLDER / f"{name}.json").write_text(json.dumps(document, indent=1) + "\n")


if __name__ == "__main__":
    write()
