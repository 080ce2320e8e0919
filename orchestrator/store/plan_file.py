"""The plan file of an ablation: reading and writing ``plan.json``."""

import json
from collections.abc import Mapping
from typing import Any

from decoder.atomic import write_atomically
from decoder.errors import ConfigError, StorageError
from orchestrator.store.paths import Results


def read_plan(results: Results, name: str) -> dict[str, Any]:
    """The plan document of an ablation that was run before.

    Raises:
        ConfigError: no ablation of this name was run.
        StorageError: the document cannot be read.
    """
    path = results.plan(name)
    try:
        document = json.loads(path.read_bytes())
    except FileNotFoundError:
        known = ", ".join(sorted(p.parent.name for p in results.ablations.glob("*/plan.json")))
        raise ConfigError(
            f"{path}: no ablation '{name}' was run into {results.root} "
            f"(there are: {known or 'none'}); run it first, or name another --results folder"
        ) from None
    except (OSError, ValueError) as error:
        raise StorageError(f"{path}: cannot be read ({error}); `run` writes it again") from None
    if not isinstance(document, dict) or "runs" not in document:
        raise StorageError(f"{path}: is no plan; `run` writes it again")
    return document


def write_plan(results: Results, name: str, document: Mapping[str, Any]) -> None:
    """Write ``plan.json``: before the first run, and again before each round of a greedy path."""
    write_atomically(results.plan(name), json.dumps(document, indent=1).encode() + b"\n")
