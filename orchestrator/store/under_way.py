"""Which packs have checkpoints, so that a later call cuts the same packs and finds them.

A pack is found by its id, a hash of its runs. Options or free memory of another day would cut other
packs, so the cut of those under way is kept beside their checkpoints.
"""

import json
from collections.abc import Iterable

from pydantic import TypeAdapter, ValidationError

from decoder.atomic import write_atomically
from decoder.regular import read_regular
from orchestrator.plan.packs import PlannedPack
from orchestrator.store.paths import Results
from orchestrator.store.sources import training_sha256

_CUT = TypeAdapter(dict[str, tuple[str, ...]])


def packs_under_way(results: Results, name: str) -> dict[str, tuple[str, ...]]:
    """Pack id → run ids, for the packs that have a checkpoint of the present source code."""
    folder = results.checkpoints(name)
    try:
        if read_regular(folder / "sources").decode() != training_sha256():
            return {}
    except (OSError, ValueError):
        return {}
    return {
        pack_id: run_ids
        for pack_id, run_ids in _read(results, name).items()
        if any((folder / pack_id).rglob("step-*.json"))
    }


def steps_under_way(results: Results, name: str) -> dict[str, int]:
    """Pack id → the step of its newest checkpoint, for the packs of `packs_under_way`.

    A pack that was split counts as one that has not begun.
    """
    folder, steps = results.checkpoints(name), {}
    for pack_id in packs_under_way(results, name):
        saved = [path.stem.removeprefix("step-") for path in (folder / pack_id).glob("step-*.json")]
        steps[pack_id] = max((int(step) for step in saved if step.isdecimal()), default=0)
    return steps


def keep_cut(results: Results, name: str, packs: Iterable[PlannedPack]) -> None:
    """Keep which runs belong to the packs that are about to train.

    Raises:
        StorageError: the file cannot be written.
    """
    before = _read(results, name)
    now = before | {pack.pack_id: tuple(run.run_id for run in pack.runs) for pack in packs}
    if now != before:
        write_atomically(results.pack_cut(name), json.dumps(now).encode())


def _read(results: Results, name: str) -> dict[str, tuple[str, ...]]:
    try:
        return _CUT.validate_json(read_regular(results.pack_cut(name)))
    except (OSError, ValidationError):
        return {}  # there is none, or it is damaged: packs are cut anew
