"""Reads and writes ``plan.json``, the plan file of an ablation."""

from pathlib import Path

from pydantic import ValidationError

from decoder.atomic import sha256_of, write_atomically
from decoder.errors import ConfigError, StorageError
from decoder.regular import read_regular
from orchestrator.plan.document import PlanDocument
from orchestrator.spec.names import listed
from orchestrator.store.look_files import with_looks
from orchestrator.store.paths import Results
from orchestrator.store.record import first_mistake

_KEY = b'"plan_sha256"'
_BEFORE = b",\n " + _KEY + b': "'


def read_plan(results: Results, name: str) -> PlanDocument:
    """The plan of an ablation that was run before.

    In a plan from before there were studentized tests, every claim keeps its exact one. What its
    looks decided is read with it.

    Raises:
        ConfigError: no ablation of this name was run.
        StorageError: the file cannot be read, or is not a plan.
    """
    path = results.plan(name)
    try:
        document = PlanDocument.model_validate_json(_unsealed(path, read_regular(path)))
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
        document = document.model_copy(update={"exact_locked": tuple(document.spec.hypotheses)})
    return with_looks(results, document)


def write_plan(results: Results, document: PlanDocument) -> None:
    """Write ``plan.json``.

    A driver does so before the first run, and again before each round of a greedy path.
    """
    body = document.model_dump_json(indent=1, by_alias=True).encode().removesuffix(b"\n}")
    write_atomically(results.plan(document.name), body + _seal(body))


def _seal(body: bytes) -> bytes:
    """What ends the file: a checksum of all before it."""
    return _BEFORE + sha256_of(body).encode() + b'"\n}\n'


def _unsealed(path: Path, content: bytes) -> bytes:
    """The plan without its checksum, which earlier versions did not write.

    Raises:
        StorageError: the checksum does not match.
    """
    body = content.rpartition(_BEFORE)[0]
    if not body and _KEY not in content:
        return content
    if content != body + _seal(body):
        raise StorageError(
            f"{path}: does not match its checksum, so it was altered; `run` writes it again"
        )
    return body + b"\n}\n"
