"""Reads and writes ``plan.json``, the plan file of an ablation."""

from pydantic import ValidationError

from decoder.atomic import write_atomically
from decoder.errors import ConfigError, StorageError
from decoder.regular import read_regular
from orchestrator.plan.document import PlanDocument
from orchestrator.spec.names import listed
from orchestrator.store.paths import Results
from orchestrator.store.record import first_mistake


def read_plan(results: Results, name: str) -> PlanDocument:
    """The plan of an ablation that was run before.

    In a plan from before there were studentized tests, every claim keeps its exact one.

    Raises:
        ConfigError: no ablation of this name was run.
        StorageError: the file cannot be read, or is not a plan.
    """
    path = results.plan(name)
    try:
        document = PlanDocument.model_validate_json(read_regular(path))
    except FileNotFoundError:
        known = listed(sorted(p.parent.name for p in results.ablations.glob("*/plan.json")))
        raise ConfigError(
            f"{path}: ablation '{name}' was not run in {results.root} (allowed: {known}); run it "
            "first, or give another --results folder"
        ) from None
    except OSError as error:
        raise StorageError(f"{path}: cannot be read ({error}); `run` writes it again") from None
    except ValidationError as error:
        raise StorageError(
            f"{path}: is not a valid plan ({first_mistake(error)}); `run` writes it again"
        ) from None
    if "exact_locked" not in document.model_fields_set:
        return document.model_copy(update={"exact_locked": tuple(document.spec.hypotheses)})
    return document


def write_plan(results: Results, document: PlanDocument) -> None:
    """Write ``plan.json``.

    A driver does so before the first run, and again before each round of a greedy path.
    """
    content = document.model_dump_json(indent=1, by_alias=True).encode() + b"\n"
    write_atomically(results.plan(document.name), content)
