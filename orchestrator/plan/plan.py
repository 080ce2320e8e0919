"""Arms × seeds → runs → packs, and the plan document."""

import hashlib
import heapq
import itertools
import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from decoder.config import DecoderConfig, config_paths, pack_key, resolve, run_id
from decoder.errors import ConfigError
from decoder.pack import Pack, Run
from orchestrator.plan.contrasts import CleanContrast, prove_contrasts
from orchestrator.plan.lineage import parents
from orchestrator.plan.recordings import DataInfo
from orchestrator.spec.cells import fraction_of
from orchestrator.spec.load import Loaded
from orchestrator.spec.schema import AblationSpec, levels_of

MAX_RUNS_PER_PACK = 16
# What a pack costs beside its runs, in runs: loading, augmenting and launching are shared.
_SHARED_COST_RUNS = 1.0
# From so many groups a worker on, the longest-first order alone keeps workers busy to the end.
_GROUPS_A_WORKER = 4


@dataclass(frozen=True)
class PlannedRun:
    """One arm with one seed. Arms that resolve to the same configuration share a `run_id`.

    Attributes:
        run_id: identity of the run.
        arm_id: the arm.
        seed: the seed it is trained with.
        config: resolved.
        data: its recordings.
        block: the seed of the file it is paired with; another than `seed` in an A/A control.
        replicate: above 0 for a repetition of the same run.
    """

    run_id: str
    arm_id: str
    seed: int
    config: DecoderConfig
    data: DataInfo
    block: int
    replicate: int = 0


@dataclass(frozen=True)
class PlannedPack:
    """Runs that can train together, those already recorded included.

    Attributes:
        pack_id: hash of all its run ids, so that a resumed plan finds its checkpoint.
        seed: the seed they share.
        runs: each run id once.
        shape: `decoder.config.pack_key` of its configurations.
    """

    pack_id: str
    seed: int
    runs: tuple[PlannedRun, ...]
    shape: str

    @property
    def data(self) -> DataInfo:
        return self.runs[0].data


class Planned(Protocol):
    """What can be trained: a `Plan`, or a batch of a search."""

    @property
    def packs(self) -> Sequence[PlannedPack]: ...

    @property
    def distinct(self) -> Mapping[str, PlannedRun]:
        """Run id → run, each once."""


@dataclass(frozen=True)
class Plan:
    """Everything an ablation will train, and why it may be compared.

    Attributes:
        loaded: the ablation file.
        runs: one entry an arm and seed.
        packs: every distinct run once.
        contrasts: the clean-contrast proof.
    """

    loaded: Loaded
    runs: tuple[PlannedRun, ...]
    packs: tuple[PlannedPack, ...]
    contrasts: tuple[CleanContrast, ...]

    @property
    def distinct(self) -> dict[str, PlannedRun]:
        """Run id → run, each once."""
        return {run.run_id: run for pack in self.packs for run in pack.runs}


def make_plan(
    loaded: Loaded,
    data: Mapping[str, DataInfo],
    n_workers: int,
    max_runs_per_pack: int = MAX_RUNS_PER_PACK,
) -> Plan:
    """Plan every run of an ablation.

    Args:
        loaded: the checked ablation file.
        data: arm id → its recordings.
        n_workers: packs trained at the same time.
        max_runs_per_pack: memory's limit on a pack.

    Raises:
        ConfigError: two compared arms differ in more than the declared paths, or not at all.
    """
    contrasts = prove_contrasts(loaded)
    runs = []
    shapes = {}
    marks, keys = config_paths(), {}  # arms that differ in per-run values alone share a key
    for arm in loaded.arms:
        config, of_arm = resolve(arm.config), data[arm.arm_id]
        shaping = repr([(p, v) for p, v in arm.changes.items() if not marks[p].per_run])
        if shaping not in keys:
            keys[shaping] = pack_key(arm.config)
        shapes[arm.arm_id] = keys[shaping]
        for block in loaded.spec.seeds:
            seed = block + arm.seed_offset
            identity = run_id(config, seed, of_arm.fingerprint, arm.replicate)
            runs.append(
                PlannedRun(identity, arm.arm_id, seed, config, of_arm, block, arm.replicate)
            )
    _check_distinct(loaded.path, contrasts, runs)
    packs = make_packs(runs, shapes, n_workers, max_runs_per_pack)
    return Plan(loaded=loaded, runs=tuple(runs), packs=packs, contrasts=contrasts)


def joined(plan: Plan, more: Plan) -> Plan:
    """The runs of both; `more` has arms and packs of its own, and no hypotheses."""
    loaded = replace(plan.loaded, arms=(*plan.loaded.arms, *more.loaded.arms))
    return Plan(loaded, (*plan.runs, *more.runs), (*plan.packs, *more.packs), plan.contrasts)


def packs_to_train(plan: Planned, recorded: Collection[str]) -> list[Pack]:
    """The packs as a backend takes them: without recorded runs, longest first.

    Args:
        plan: the plan.
        recorded: run ids that need no training.
    """
    left = []
    for pack in plan.packs:
        runs = [run for run in pack.runs if run.run_id not in recorded]
        if runs:
            todo = tuple(Run(run.run_id, run.config) for run in runs)
            left.append((_cost(runs), Pack(pack.pack_id, pack.seed, todo)))
    return [pack for _, pack in sorted(left, key=lambda item: -item[0])]


def run_document(run: PlannedRun) -> dict[str, Any]:
    """One planned run as JSON."""
    return {"run_id": run.run_id, "arm_id": run.arm_id, "seed": run.seed, "block": run.block}


def plan_document(plan: Plan, lock_changed: Iterable[str] = ()) -> dict[str, Any]:
    """The plan as JSON: all that tables, verdicts and report need beside the records.

    Args:
        plan: the plan.
        lock_changed: hypotheses that were altered after runs of theirs existed, see
            `orchestrator.store.registration`.
    """
    spec = plan.loaded.spec.model_dump(mode="json", by_alias=True)
    datasets = list(dict.fromkeys(run.data for run in plan.runs))
    return {
        "name": plan.loaded.spec.name,
        "question": plan.loaded.spec.question,
        "spec_file": str(plan.loaded.path),
        "spec": spec,
        "spec_hash": digest(spec),
        "dataset": datasets[0].document(),
        "datasets": [data.document() for data in datasets],
        "arms": arm_documents(plan.loaded),
        "aliases": aliases_document(plan.loaded.spec),
        "runs": [run_document(run) for run in plan.runs],
        "packs": [
            {
                "pack_id": pack.pack_id,
                "seed": pack.seed,
                "run_ids": [run.run_id for run in pack.runs],
            }
            for pack in plan.packs
        ],
        "contrasts": contrast_documents(plan),
        "lock_changed": list(lock_changed),
    }


def digest(value: Any) -> str:
    """Hex SHA-256 of a JSON value, key order aside."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def busy_time(costs: Iterable[float], n_workers: int) -> float:
    """When the last of `n_workers` ends, each taking the longest job left."""
    loads = [0.0] * n_workers
    for cost in sorted(costs, reverse=True):
        heapq.heapreplace(loads, loads[0] + cost)
    return max(loads)


def arm_documents(loaded: Loaded) -> list[dict[str, Any]]:
    """Every arm as JSON, with its parent."""
    first = {factor: names[0] for factor, names in levels_of(loaded.spec).items()}
    parent_of = parents(loaded.arms, first)
    return [
        {
            "arm_id": arm.arm_id,
            "name": arm.name,
            "levels": dict(arm.levels),
            "changes": dict(arm.changes),
            "in_design": arm.in_design,
            "note": arm.note,
            "seed_offset": arm.seed_offset,
            "replicate": arm.replicate,
            "parent": arm.candidate.after if arm.candidate else parent_of[arm.arm_id],
            "candidate": arm.candidate._asdict() if arm.candidate else None,
        }
        for arm in loaded.arms
    ]


def contrast_documents(plan: Plan) -> list[dict[str, Any]]:
    """The clean-contrast proof as JSON."""
    return [
        {
            "hypothesis": proof.hypothesis,
            "from_arm": proof.from_arm,
            "to_arm": proof.to_arm,
            "changed": {path: list(values) for path, values in proof.changed.items()},
        }
        for proof in plan.contrasts
    ]


def aliases_document(spec: AblationSpec) -> dict[str, Any] | None:
    """Generators, resolution and alias table of a ``fractional`` design; None for others."""
    return fraction_of(spec).document() if spec.design == "fractional" else None


def _check_distinct(
    path: Path, contrasts: Iterable[CleanContrast], runs: Iterable[PlannedRun]
) -> None:
    """Refuse a contrast between arms that only look different, such as a default written out."""
    ids = {(run.arm_id, run.seed): run.run_id for run in runs}
    by_arm = {arm_id: run for (arm_id, _), run in ids.items()}  # the last seed's will do
    problems = [
        f"{path}: hypotheses.{proof.hypothesis}: arms {proof.from_arm} and {proof.to_arm} are the "
        f"same run once defaults are filled in (they differ in {', '.join(proof.changed)}); "
        "there is no effect to find, so change a level or leave the hypothesis out"
        for proof in contrasts
        if proof.from_arm in by_arm and by_arm[proof.from_arm] == by_arm[proof.to_arm]
    ]
    if problems:
        raise ConfigError(problems)


def make_packs(
    runs: Sequence[PlannedRun], shapes: Mapping[str, str], n_workers: int, max_runs: int
) -> tuple[PlannedPack, ...]:
    """The packs of some runs, each run id once: as few as keep all workers busy.

    Args:
        runs: what is to be trained.
        shapes: arm id → `decoder.config.pack_key` of its configuration.
        n_workers: packs trained at the same time.
        max_runs: memory's limit on a pack.
    """
    groups: dict[tuple[str, str, int, int], list[PlannedRun]] = {}
    seen: set[str] = set()
    for run in runs:
        if run.run_id not in seen:
            seen.add(run.run_id)
            key = (run.data.fingerprint, shapes[run.arm_id], run.seed, run.replicate)
            groups.setdefault(key, []).append(run)
    for group in groups.values():
        group.sort(key=lambda run: run.config.train.n_steps)  # stable: runs of one length together
    parts = _split_groups(list(groups.values()), n_workers, max_runs)
    return tuple(
        PlannedPack(
            pack_id=digest(sorted(run.run_id for run in part))[:16],
            seed=part[0].seed,
            runs=tuple(part),
            shape=shapes[part[0].arm_id],
        )
        for part in parts
    )


def _split_groups(
    groups: Sequence[list[PlannedRun]], n_workers: int, max_runs: int
) -> list[list[PlannedRun]]:
    """Cut groups into packs: as few as keep all workers busy and every pack in memory."""
    most = n_workers if len(groups) < _GROUPS_A_WORKER * n_workers else 1
    best: tuple[float, list[list[PlannedRun]]] | None = None
    for n_parts in range(1, most + 1):
        parts = [
            part
            for group in groups
            for part in _cut(group, min(len(group), max(n_parts, -(-len(group) // max_runs))))
        ]
        wall = busy_time((_cost(part) for part in parts), n_workers)
        if best is None or wall < best[0]:
            best = (wall, parts)
    assert best is not None
    return best[1]


def _cut(group: list[PlannedRun], n_parts: int) -> list[list[PlannedRun]]:
    """`group` in `n_parts` consecutive parts whose sizes differ by one at most."""
    size, n_larger = divmod(len(group), n_parts)
    ends = itertools.accumulate(size + (index < n_larger) for index in range(n_parts))
    starts = [0, *ends]
    return [group[start:end] for start, end in itertools.pairwise(starts)]


def _cost(runs: Sequence[PlannedRun]) -> float:
    """Work of a pack, in arbitrary units: products of a step times steps, over its runs."""
    steps = [run.config.train.n_steps for run in runs]
    model, n_features = runs[0].config.model, runs[0].data.n_features
    inputs = model.patch_size * n_features + (2 * model.n_layers - 1) * model.n_units
    per_step = runs[0].config.data.batch_size / model.patch_stride * model.n_units * inputs
    return per_step * (sum(steps) + _SHARED_COST_RUNS * max(steps))
