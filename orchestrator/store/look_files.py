"""What each look of an ablation decided, one file a look: a decision that was taken stands.

The files of one rule lie in one folder, see `orchestrator.plan.document.PlanDocument.rule`: other
claims or other source code take looks of their own and leave these as they are.
"""

import json
from itertools import count
from pathlib import Path

from pydantic import BaseModel, ValidationError

from decoder.atomic import write_atomically
from decoder.config import digest
from decoder.regular import read_regular
from orchestrator.plan.document import PlanDocument
from orchestrator.plan.looks import LookDecision
from orchestrator.store.former import mark_damaged
from orchestrator.store.paths import Results
from orchestrator.store.record import first_mistake
from orchestrator.terminal import Say


class _File(BaseModel):
    sha256: str
    decision: LookDecision


def with_looks(
    results: Results, document: PlanDocument, *, move_aside: Say | None = None
) -> PlanDocument:
    """The plan document with what its looks have decided up to now.

    A file that cannot be trusted ends the list: its look, and those after it, are taken again from
    the records, which gives what they gave before.

    Args:
        move_aside: receives a line for each such file, which is then renamed to ``.corrupt``; None
            leaves files as they are.

    Raises:
        StorageError: a file cannot be renamed.
    """
    if not document.rule:
        return document
    taken: list[LookDecision] = []
    for number in count(1):
        path = _path(results, document, number)
        try:
            taken.append(_read(path, number, document))
        except FileNotFoundError:
            break
        except (OSError, ValueError) as error:
            if move_aside is not None:
                what = first_mistake(error) if isinstance(error, ValidationError) else str(error)
                (moved,) = mark_damaged([path])
                move_aside(
                    f"{path}: cannot be trusted ({what}); renamed to {moved}, and look {number} "
                    "is taken again from the records"
                )
            break
    return document.model_copy(update={"looks_taken": tuple(taken)})


def write_look(results: Results, document: PlanDocument, decision: LookDecision) -> None:
    """Record what a look decided.

    Raises:
        StorageError: the file cannot be written.
    """
    decided = decision.model_dump(mode="json")
    content = {"schema": 1, "sha256": digest(decided), "decision": decided}
    path = _path(results, document, decision.look)
    write_atomically(path, json.dumps(content, indent=1).encode())


def _path(results: Results, document: PlanDocument, number: int) -> Path:
    return results.looks(document.name, document.rule) / f"look-{number}.json"


def _read(path: Path, number: int, document: PlanDocument) -> LookDecision:
    """Read the decision of one look.

    Raises:
        OSError: there is no such file, or it cannot be read.
        ValueError: it is not what was written, or belongs elsewhere.
    """
    content = read_regular(path)
    found = _File.model_validate_json(content)
    if digest(json.loads(content)["decision"]) != found.sha256:
        raise ValueError("it does not match its checksum")
    if found.decision.look != number:
        raise ValueError(f"it is the record of look {found.decision.look}")
    if found.decision.claims.keys() != document.spec.hypotheses.keys():
        raise ValueError("it is about other claims")
    return found.decision
