"""Which files of a results folder may be removed: checkpoints, weights, logits, never records."""

import time
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

from decoder.errors import StorageError
from orchestrator.query.conditions import check_against, parse_condition
from orchestrator.store.ledger import read_records, with_result
from orchestrator.store.locks import current_holder
from orchestrator.store.mixing import KEPT_NAMES
from orchestrator.store.paths import Results
from orchestrator.store.plan_file import read_plan
from orchestrator.tables.index import open_index
from orchestrator.terminal import Say

_WEIGHTS = (".safetensors", ".pt")
_OF_WEIGHTS = "weights.json"  # their configuration
_LOGITS = tuple(name for name in KEPT_NAMES if "logits" in name)
_SECONDS_PER_DAY = 86_400.0

_Kind = Literal["checkpoint", "weights", "logits"]


@dataclass(frozen=True)
class PruningRule:
    """Which files may be removed.

    Attributes:
        checkpoints: checkpoints of packs whose runs all have a result, or that no plan has.
        weights: weights of runs that have a result.
        where: only weights and logits of runs that meet this condition, see
            `orchestrator.query.conditions`.
        keep_best: how many runs of each data set keep theirs, lowest final PER first.
        older_than_days: only files last written at least this long ago.
        logits: logits of runs that have a result.
    """

    checkpoints: bool = False
    weights: bool = False
    where: str | None = None
    keep_best: int = 0
    older_than_days: float = 0.0
    logits: bool = False


class Removable(NamedTuple):
    """A file that may be removed.

    Attributes:
        path: the file.
        kind: what it holds.
        n_bytes: its size.
        reason: why it may be removed.
    """

    path: Path
    kind: _Kind
    n_bytes: int
    reason: str


def find_removable(results: Results, rule: PruningRule, say: Say) -> list[Removable]:
    """Every file that a rule covers; nothing is removed.

    Checkpoints of unfinished packs, and of an ablation that is being run now, are kept.

    Args:
        say: receives what is kept, and why.

    Raises:
        ConfigError: the condition cannot be parsed.
        StorageError: a folder cannot be read.
    """
    items = list(_checkpoints(results, say)) if rule.checkpoints else []
    items += _kept(results, rule, say) if rule.weights or rule.logits else []
    newest = time.time() - rule.older_than_days * _SECONDS_PER_DAY
    return [item for item in items if item.path.stat().st_mtime <= newest]


def remove(results: Results, items: Collection[Removable]) -> None:
    """Delete these files, and the folders of checkpoints that are empty afterwards.

    Raises:
        StorageError: a file cannot be removed; those before it are gone.
    """
    for item in items:
        assert item.path.name not in ("record.json", "history.csv")
        assert results.root in item.path.parents
        try:
            item.path.unlink(missing_ok=True)
            if item.kind == "checkpoint" and not any(item.path.parent.iterdir()):
                item.path.parent.rmdir()
        except OSError as error:
            raise StorageError(
                f"{item.path}: cannot be removed: {error.strerror or error}"
            ) from None


def _checkpoints(results: Results, say: Say) -> Iterator[Removable]:
    for folder in sorted(results.ablations.glob("*/checkpoints")):
        name = folder.parent.name
        holder = current_holder(results, name)
        if holder is not None:
            say(f"{folder}: kept; {name} is being run by {holder}")
            continue
        packs = {pack.pack_id: pack.run_ids for pack in read_plan(results, name).packs}
        wanted = [run_id for run_ids in packs.values() for run_id in run_ids]
        done = with_result(read_records(results, wanted, say, move_aside=False))
        for pack in sorted(path for path in folder.iterdir() if path.is_dir()):
            left = [run_id for run_id in packs.get(pack.name, ()) if run_id not in done]
            if left:
                say(f"{pack}: kept; {len(left)} of its runs have no result yet")
                continue
            reason = "every run has a result" if pack.name in packs else "the plan lacks this pack"
            for path in sorted(pack.rglob("*")):
                if path.is_file() and not path.is_symlink():
                    yield Removable(path, "checkpoint", path.stat().st_size, reason)


def _kept(results: Results, rule: PruningRule, say: Say) -> list[Removable]:
    files = _kept_files(results, rule)
    if not files:
        return []
    index = open_index(results, say)
    if not len(index):
        return []
    condition = parse_condition(rule.where, index.names) if rule.where else None
    positions = index.positions()
    having = [positions[run_id] for run_id in files if run_id in positions]
    runs = index.runs(having)
    best: dict[str | None, list[tuple[float, str]]] = {}
    for run in runs:
        per = run.number("per")
        if run.outcome == "ok" and per is not None:
            best.setdefault(run.dataset, []).append((per, run.run_id))
    kept = {run_id for scores in best.values() for _, run_id in sorted(scores)[: rule.keep_best]}
    cells = index.cells(having, condition.names if condition else ())
    if condition and (remark := check_against(condition, cells)):
        say(remark)
    return [
        Removable(path, kind, path.stat().st_size, f"its run ended {run.outcome}")
        for run, row in zip(runs, cells, strict=True)
        if run.run_id not in kept
        and run.outcome != "failed"
        and (condition is None or condition.holds(row))
        for path, kind in files[run.run_id]
    ]


def _kept_files(results: Results, rule: PruningRule) -> Mapping[str, list[tuple[Path, _Kind]]]:
    """Run id → the files that the rule asks about, with what they hold."""
    files: dict[str, list[tuple[Path, _Kind]]] = {}
    for path in sorted(results.runs.glob("*/*")):
        of_weights = path.suffix in _WEIGHTS or path.name == _OF_WEIGHTS
        kind: _Kind = "weights" if of_weights else "logits"
        asked = rule.weights if of_weights else rule.logits and path.name in _LOGITS
        if asked and path.is_file() and not path.is_symlink():
            files.setdefault(path.parent.name, []).append((path, kind))
    return files
