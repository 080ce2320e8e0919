"""What may go from a results folder: checkpoints and kept weights by rule, records never."""

import time
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from decoder.errors import StorageError
from orchestrator.query.where import parse_condition
from orchestrator.store.driver_lock import current_holder
from orchestrator.store.ledger import read_records, with_result
from orchestrator.store.paths import Results
from orchestrator.store.plan_file import read_plan
from orchestrator.tables.index import open_index
from orchestrator.terminal import Say

Kind = Literal["checkpoint", "weights"]

_WEIGHTS = (".safetensors", ".pt")
_OF_WEIGHTS = "weights.json"  # their configuration
_SECONDS_A_DAY = 86_400.0


@dataclass(frozen=True)
class Rule:
    """What goes.

    Attributes:
        checkpoints: those of packs whose runs all have a result, and those that no plan knows.
        weights: weights kept of runs that have a result.
        where: only weights of runs that meet this condition, see `orchestrator.query.where`.
        keep_best: weights of so many runs, lowest final PER first, stay in every data set.
        older_than_days: only what was last written so long ago.
    """

    checkpoints: bool = False
    weights: bool = False
    where: str | None = None
    keep_best: int = 0
    older_than_days: float = 0.0


@dataclass(frozen=True)
class Removable:
    """A file that may go.

    Attributes:
        path: it.
        kind: what it is.
        n_bytes: its size.
        reason: why it may go.
    """

    path: Path
    kind: Kind
    n_bytes: int
    reason: str


def find_removable(
    results: Results, rule: Rule, say: Say, now: Callable[[], float] = time.time
) -> list[Removable]:
    """Every file that a rule lets go; nothing is touched.

    Checkpoints of an ablation that is being run now stay, and so do those of unfinished packs.

    Args:
        results: the folder.
        rule: what goes.
        say: receives what was passed over, and why.
        now: seconds since 1970.

    Raises:
        ConfigError: a condition that is not understood.
        StorageError: a folder cannot be read.
    """
    found = list(_checkpoints(results, say)) if rule.checkpoints else []
    found += _weights(results, rule, say) if rule.weights else []
    oldest = now() - rule.older_than_days * _SECONDS_A_DAY
    return [item for item in found if item.path.stat().st_mtime <= oldest]


def remove(results: Results, items: Collection[Removable]) -> int:
    """Delete these files, and the folders of checkpoints that are empty then.

    Returns:
        Bytes freed.

    Raises:
        StorageError: a file cannot be removed; those before it are gone.
    """
    n_bytes = 0
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
        n_bytes += item.n_bytes
    return n_bytes


def _checkpoints(results: Results, say: Say) -> Iterator[Removable]:
    for folder in sorted(results.ablations.glob("*/checkpoints")):
        name = folder.parent.name
        holder = current_holder(results, name)
        if holder is not None:
            say(f"{folder}: stays; {name} is being run by {holder}")
            continue
        packs = {pack.pack_id: pack.run_ids for pack in read_plan(results, name).packs}
        wanted = [run_id for run_ids in packs.values() for run_id in run_ids]
        done = with_result(read_records(results, wanted, say, move_aside=False))
        for pack in sorted(path for path in folder.iterdir() if path.is_dir()):
            left = [run_id for run_id in packs.get(pack.name, ()) if run_id not in done]
            if left:
                say(f"{pack}: stays; {len(left)} of its runs have no result yet")
                continue
            reason = "every run has a result" if pack.name in packs else "no plan knows this pack"
            yield from _files(pack, reason)


def _files(folder: Path, reason: str) -> Iterator[Removable]:
    for path in sorted(folder.rglob("*")):
        if path.is_file() and not path.is_symlink():
            yield Removable(path, "checkpoint", path.stat().st_size, reason)


def _weights(results: Results, rule: Rule, say: Say) -> list[Removable]:
    files = _weight_files(results)
    if not files:
        return []
    index = open_index(results, say)
    condition = parse_condition(rule.where, index.names) if rule.where else None
    names = [*(condition.names if condition else ()), "run_id", "outcome", "per", "dataset"]
    rows = {row["run_id"]: row for row in index.rows(range(len(index)), names)}
    having = [rows[run_id] for run_id in files if run_id in rows]
    best: dict[str, list[tuple[float, str]]] = {}
    for row in having:
        if row["outcome"] == "ok":
            best.setdefault(row["dataset"], []).append((row["per"], row["run_id"]))
    spared = {run_id for scores in best.values() for _, run_id in sorted(scores)[: rule.keep_best]}
    return [
        Removable(path, "weights", path.stat().st_size, f"its run ended {row['outcome']}")
        for row in having
        if row["run_id"] not in spared
        and row["outcome"] != "failed"
        and (condition is None or condition.holds(row))
        for path in files[row["run_id"]]
    ]


def _weight_files(results: Results) -> Mapping[str, list[Path]]:
    files: dict[str, list[Path]] = {}
    for path in sorted(results.runs.glob("*/*")):
        of_weights = path.suffix in _WEIGHTS or path.name == _OF_WEIGHTS
        if of_weights and path.is_file() and not path.is_symlink():
            files.setdefault(path.parent.name, []).append(path)
    return files
