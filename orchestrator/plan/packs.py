"""Runs to packs: which runs train together, and in which order packs train."""

import heapq
import itertools
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from decoder.config import DecoderConfig, digest
from orchestrator.plan.recordings import Recordings
from orchestrator.spec.configuration import Configuration, Pack, Run, n_steps_of

MAX_RUNS_PER_PACK = 16
# The cost of loading, augmenting and launching, which the runs of a pack share, in runs.
_SHARED_COST_RUNS = 1.0
# With this many groups per worker, training the longest first keeps all workers busy.
_GROUPS_PER_WORKER = 4


@dataclass(frozen=True)
class PlannedRun:
    """One arm with one seed. Arms that resolve to the same configuration share a `run_id`.

    Attributes:
        seed: the seed it is trained with.
        config: its configuration, resolved.
        block: the seed of the file by which runs are paired; it differs from `seed` in an A/A
            control on fresh seeds.
        replicate: above 0 for a repetition of the same run.
    """

    run_id: str
    arm_id: str
    seed: int
    config: Configuration
    data: Recordings
    block: int
    replicate: int = 0


@dataclass(frozen=True)
class PlannedPack:
    """Runs that can train together, including those already recorded.

    Attributes:
        pack_id: hash of all its run ids, so that an interrupted pack finds its checkpoint.
        seed: the seed they share.
        runs: each run id once.
        shape: `decoder.config.pack_key` of its configurations.
    """

    pack_id: str
    seed: int
    runs: tuple[PlannedRun, ...]
    shape: str

    @property
    def data(self) -> Recordings:
        return self.runs[0].data


class Planned(Protocol):
    """What can be trained: a `Plan`, or a batch of a search."""

    @property
    def packs(self) -> Sequence[PlannedPack]: ...

    @property
    def distinct(self) -> Mapping[str, PlannedRun]:
        """Run id → run, each once."""


class Room(Protocol):
    """What bounds packs besides their largest number of runs."""

    @property
    def under_way(self) -> Mapping[str, Sequence[str]]:
        """Pack id → run ids of packs that have checkpoints; they are not cut anew."""

    def most_runs(self, runs: Sequence[PlannedRun], shape: str) -> int:
        """How many of these runs, which can train together, a pack may hold; at least one."""


def make_packs(
    runs: Sequence[PlannedRun],
    shapes: Mapping[str, str],
    n_workers: int,
    max_runs: int,
    room: Room | None = None,
) -> tuple[PlannedPack, ...]:
    """Group runs into the fewest packs that keep all workers busy; each run id is in one pack.

    Args:
        shapes: arm id → `decoder.config.pack_key` of its configuration.
        n_workers: packs trained at the same time.
        max_runs: most runs in a pack.
        room: bounds packs by memory, and names those that have checkpoints; None does neither.
    """
    packs = _cut_packs(runs, shapes, n_workers, max_runs, room)
    if room is None or not room.under_way.keys() - {pack.pack_id for pack in packs}:
        return packs
    kept = _packs_under_way(runs, shapes, room.under_way)
    taken = {run.run_id for pack in kept for run in pack.runs}
    rest = [run for run in runs if run.run_id not in taken]
    return (*kept, *(_cut_packs(rest, shapes, n_workers, max_runs, room) if rest else ()))


def _packs_under_way(
    runs: Sequence[PlannedRun], shapes: Mapping[str, str], under_way: Mapping[str, Sequence[str]]
) -> list[PlannedPack]:
    """The packs that have checkpoints, with those of their runs that are planned."""
    by_id: dict[str, PlannedRun] = {}
    for run in runs:
        by_id.setdefault(run.run_id, run)
    packs = []
    for pack_id, run_ids in under_way.items():
        own = [by_id.pop(run_id) for run_id in run_ids if run_id in by_id]
        if own:
            packs.append(PlannedPack(pack_id, own[0].seed, tuple(own), shapes[own[0].arm_id]))
    return packs


def _cut_packs(
    runs: Sequence[PlannedRun],
    shapes: Mapping[str, str],
    n_workers: int,
    max_runs: int,
    room: Room | None,
) -> tuple[PlannedPack, ...]:
    groups: dict[tuple[str, str, int, int], list[PlannedRun]] = {}
    seen: set[str] = set()
    for run in runs:
        if run.run_id not in seen:
            seen.add(run.run_id)
            key = (run.data.fingerprint, shapes[run.arm_id], run.seed, run.replicate)
            groups.setdefault(key, []).append(run)
    for group in groups.values():
        group.sort(key=lambda run: n_steps_of(run.config))  # stable: runs of one length together
    limits = [
        min(max_runs, room.most_runs(group, key[1])) if room else max_runs
        for key, group in groups.items()
    ]
    parts = _split_groups(list(groups.values()), n_workers, limits)
    return tuple(
        PlannedPack(
            pack_id=digest(sorted(run.run_id for run in part))[:16],
            seed=part[0].seed,
            runs=tuple(part),
            shape=shapes[part[0].arm_id],
        )
        for part in parts
    )


def packs_to_train(packs: Iterable[PlannedPack], recorded: Collection[str]) -> list[Pack]:
    """The packs as a backend takes them: without recorded runs, longest first.

    Args:
        recorded: ids of the runs that need no training.
    """
    left = []
    for pack in packs:
        runs = [run for run in pack.runs if run.run_id not in recorded]
        if runs:
            todo = tuple(Run(run.run_id, run.config) for run in runs)
            left.append((_cost(runs), Pack(pack.pack_id, pack.seed, todo)))
    return [pack for _, pack in sorted(left, key=lambda item: -item[0])]


def work_of(pack: PlannedPack, run_ids: Collection[str]) -> float:
    """The work of some runs of a pack, in arbitrary units; at least one run."""
    return _cost([run for run in pack.runs if run.run_id in run_ids])


def busy_time(costs: Iterable[float], n_workers: int) -> float:
    """When the last of `n_workers` ends, if each always takes the longest job left.

    Args:
        costs: the time of each job, in any unit.
        n_workers: jobs at the same time.
    """
    loads = [0.0] * n_workers
    for cost in sorted(costs, reverse=True):
        heapq.heapreplace(loads, loads[0] + cost)
    return max(loads)


def _split_groups(
    groups: Sequence[list[PlannedRun]], n_workers: int, limits: Sequence[int]
) -> list[list[PlannedRun]]:
    """Split groups into the fewest packs that keep all workers busy and fit into memory.

    Args:
        limits: for each group, most runs in a pack.
    """
    most = n_workers if len(groups) < _GROUPS_PER_WORKER * n_workers else 1
    best: tuple[float, list[list[PlannedRun]]] | None = None
    for n_parts in range(1, most + 1):
        parts = [
            part
            for group, max_runs in zip(groups, limits, strict=True)
            for part in _cut(group, min(len(group), max(n_parts, -(-len(group) // max_runs))))
        ]
        wall = busy_time((_cost(part) for part in parts), n_workers)
        if best is None or wall < best[0]:
            best = (wall, parts)
    assert best is not None
    return best[1]


def _cut(group: list[PlannedRun], n_parts: int) -> list[list[PlannedRun]]:
    """Split `group` into `n_parts` consecutive parts whose sizes differ by at most one."""
    size, n_larger = divmod(len(group), n_parts)
    ends = itertools.accumulate(size + (index < n_larger) for index in range(n_parts))
    starts = [0, *ends]
    return [group[start:end] for start, end in itertools.pairwise(starts)]


def _cost(runs: Sequence[PlannedRun]) -> float:
    """Work of a pack in arbitrary units: multiplications per step, times the steps of its runs."""
    steps = [n_steps_of(run.config) for run in runs]
    config, n_features = runs[0].config, runs[0].data.n_features
    if not isinstance(config, DecoderConfig):
        return float(sum(steps))  # nothing is known of a command but its steps
    model = config.model
    inputs = model.patch_size * n_features + (2 * model.n_layers - 1) * model.n_units
    per_step = config.data.batch_size / model.patch_stride * model.n_units * inputs
    return per_step * (sum(steps) + _SHARED_COST_RUNS * max(steps))
