"""Which packs have checkpoints, so that a later call cuts the same packs and finds them.

A pack is found by its id, a hash of its runs. Options or free memory of another day would cut other
packs, so the cut of those under way is kept beside their checkpoints.
"""

import json
import shutil
from collections.abc import Iterable

from pydantic import TypeAdapter, ValidationError

from decoder.atomic import write_atomically
from decoder.regular import read_regular
from orchestrator.plan.packs import PlannedPack
from orchestrator.store.locks import file_lock
from orchestrator.store.paths import Results
from orchestrator.store.sources import training_sha256
from orchestrator.terminal import Say

_LOCK_SECONDS = 10.0

_CUT = TypeAdapter(dict[str, tuple[str, ...]])


def packs_under_way(results: Results, name: str) -> dict[str, tuple[str, ...]]:
    """Pack id → run ids, for the packs that have a checkpoint of the present source code."""
    folder = results.checkpoints(name)
    if sources_of_checkpoints(results, name) != training_sha256():
        return {}
    trained = {path.name for path in folder.iterdir() if path.is_dir()}
    return {
        pack_id: run_ids
        for pack_id, run_ids in (recorded_cut(results, name) if trained else {}).items()
        if pack_id in trained and any((folder / pack_id).rglob("step-*.json"))
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


def sources_of_checkpoints(results: Results, name: str) -> str:
    """The id of the sources that made the checkpoints; empty if it is not known."""
    try:
        return read_regular(results.checkpoints(name) / "sources").decode()
    except (OSError, UnicodeDecodeError):
        return ""


def drop_other_sources(results: Results, name: str, say: Say) -> None:
    """Remove checkpoints that other than the present sources made.

    Raises:
        StorageError: the folder cannot be written.
    """
    folder, present = results.checkpoints(name), training_sha256()
    if sources_of_checkpoints(results, name) == present:
        return
    if folder.exists():
        say(
            f"{folder}: not known to be of the present source code of the decoder; runs in "
            "progress start anew"
        )
        shutil.rmtree(folder)
    write_atomically(folder / "sources", present.encode())


def keep_cut(results: Results, name: str, packs: Iterable[PlannedPack]) -> None:
    """Keep which runs belong to the packs that are about to train.

    Raises:
        StorageError: the file cannot be written.
    """
    cut = {pack.pack_id: tuple(run.run_id for run in pack.runs) for pack in packs}
    before = recorded_cut(results, name)
    if before | cut == before:
        return
    path = results.pack_cut(name)
    # Processes that share the work of an ablation all add to this file.
    with file_lock(path.with_suffix(".lock"), _LOCK_SECONDS, lambda: f"{path}: is locked"):
        now = recorded_cut(results, name) | cut
        write_atomically(path, json.dumps(now).encode())


def recorded_cut(results: Results, name: str) -> dict[str, tuple[str, ...]]:
    """Pack id → run ids, for all packs that have trained, with or without a checkpoint."""
    try:
        return _CUT.validate_json(read_regular(results.pack_cut(name)))
    except (OSError, ValidationError):
        return {}  # there is none, or it is damaged: packs are cut anew
