"""The plan document, the content of ``plan.json``: all that tables and reports need but records.

It is parsed once, where the file is read (`orchestrator.store.plan_file`).
"""

from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, model_validator

from decoder.config import digest
from orchestrator.plan.contrasts import CleanContrast
from orchestrator.plan.judged import Judged
from orchestrator.plan.looks import LookDecision
from orchestrator.plan.plan import Plan
from orchestrator.spec.arms import Arm, GreedyCandidate
from orchestrator.spec.cells import fraction_of
from orchestrator.spec.compared import Compared, compared_by_name
from orchestrator.spec.configuration import NOT_SET, flatten
from orchestrator.spec.fraction import FractionDocument
from orchestrator.spec.load import Loaded
from orchestrator.spec.schema import AblationSpec, Look, levels_of
from orchestrator.spec.seeds import SeedSteps, SteppedSeeds


class _Entry(BaseModel):
    """A part of the document, read from a file or from the attributes of what it describes.

    Unknown keys are ignored, since a newer version may write more.
    """

    model_config = ConfigDict(frozen=True, extra="ignore", from_attributes=True)


class RecordingsEntry(_Entry):
    """A set of recordings, see `orchestrator.plan.recordings.Recordings`.

    It lacks their folder, which depends on the results folder.
    """

    fingerprint: str
    path: str
    sessions: tuple[str, ...]
    n_train_trials: int
    n_val_trials: int
    n_features: int | None = None
    n_classes: int | None = None
    bin_ms: int | None = None
    remarks: tuple[str, ...] = ()
    stated: str = ""

    @property
    def name(self) -> str:
        """The name of the file or folder; of recordings that are stated, the statement."""
        is_text = bool(self.stated) and not Path(self.path).is_absolute()
        return self.path if is_text else Path(self.path).name


class ArmEntry(_Entry):
    """An arm, see `orchestrator.spec.arms.Arm`.

    Attributes:
        parent: id of the arm that differs from it in the fewest settings; None for the root.
    """

    arm_id: str
    name: str = ""
    levels: Mapping[str, str]
    changes: Mapping[str, Any] = {}
    in_design: bool
    note: str = ""
    seed_offset: int = 0
    replicate: int = 0
    parent: str | None = None
    candidate: GreedyCandidate | None = None


class RunEntry(_Entry):
    """One arm with one seed.

    Attributes:
        seed: the seed it is trained with.
        block: the seed of the ablation by which runs are paired; it differs from `seed` in arms
            on fresh seeds.
    """

    run_id: str
    arm_id: str
    seed: int
    block: int

    @model_validator(mode="before")
    @classmethod
    def _pair_by_seed(cls, value: Any) -> Any:
        """Runs of older plans, which have no blocks, are paired by their seed."""
        return {"block": value["seed"], **value} if isinstance(value, dict) else value


class PackEntry(_Entry):
    """Runs that are planned to train together."""

    pack_id: str
    seed: int
    run_ids: tuple[str, ...]


class SeedsAdded(_Entry):
    """Seeds that joined the file after runs that decide a hypothesis; those of its lock decide it.

    Attributes:
        locked: the seeds of the lock; if looks are planned, in the order of the file.
        looks: the looks of the lock.
        steps: the steps of the seeds of the lock; None if it listed its seeds.
        n_added: how many other seeds the file has now.
    """

    locked: tuple[int, ...]
    looks: tuple[Look, ...] = ()
    steps: SeedSteps | None = None
    n_added: int

    def as_locked(self, spec: AblationSpec) -> AblationSpec:
        """The specification with the seeds and looks of the lock."""
        seeds = self.locked if self.steps is None else SteppedSeeds(self.steps)
        return spec.model_copy(update={"seeds": seeds, "looks": self.looks})

    @property
    def sentence(self) -> str:
        """What happened, and what decides."""
        n_locked = len(self.locked)
        were = "seed was" if self.n_added == 1 else "seeds were"
        return (
            f"{self.n_added} {were} added after results of the {n_locked} locked ones existed, so "
            f"those {n_locked} decide the claim, and what all {n_locked + self.n_added} show is "
            "exploratory"
        )


class PlanDocument(_Entry):
    """Everything that tables, verdicts and reports need in addition to the records.

    Attributes:
        spec_hash: hash of the specification as JSON.
        dataset: the first of `datasets`; the only one in documents of older versions.
        aliases: the fraction, for a ``fractional`` design.
        lock_changed: hypotheses that were added or changed after runs that decide them.
        exact_locked: hypotheses that were locked when every test was exact, and keep theirs.
        allow_mixed: whether runs of different decoder sources are used together.
        seeds_added: hypothesis → its lock, for those to which seeds were added after runs that
            decide them.
        judged: what `judge` knows of runs that existed before the hypotheses; None for an
            ablation.
        rule: names what the decisions of looks depend on besides the runs: the claims as they
            are registered, and the source code that trains.
        looks_taken: what the looks of this rule decided, in their order. Each has a file of its
            own, see `orchestrator.store.look_files`.
    """

    name: str
    question: str
    spec_file: str
    spec: AblationSpec
    spec_hash: str
    dataset: RecordingsEntry
    datasets: tuple[RecordingsEntry, ...] = ()
    arms: tuple[ArmEntry, ...]
    aliases: FractionDocument | None = None
    runs: tuple[RunEntry, ...]
    packs: tuple[PackEntry, ...] = ()
    contrasts: tuple[CleanContrast, ...] = ()
    lock_changed: tuple[str, ...] = ()
    exact_locked: tuple[str, ...] = ()
    allow_mixed: bool = False
    seeds_added: Mapping[str, SeedsAdded] = {}
    judged: Judged | None = None
    rule: str = ""
    looks_taken: tuple[LookDecision, ...] = Field(default=(), exclude=True)

    @model_validator(mode="after")
    def _check_arms(self) -> Self:
        unknown = {run.arm_id for run in self.runs} - {arm.arm_id for arm in self.arms}
        if unknown:
            raise ValueError(f"runs of unknown arms: {', '.join(sorted(unknown))}")
        return self

    @cached_property
    def run_ids(self) -> tuple[str, ...]:
        """Every run id once; arms that resolve to the same configuration share runs."""
        return tuple(dict.fromkeys(run.run_id for run in self.runs))

    @cached_property
    def cells(self) -> dict[str, Mapping[str, str]]:
        """Arm id → levels, for the arms of the design."""
        return {arm.arm_id: arm.levels for arm in self.arms if arm.in_design}

    @cached_property
    def compared(self) -> dict[str, tuple[Compared, ...]]:
        """Hypothesis → the arms it compares, see `orchestrator.spec.compared.compared`."""
        return compared_by_name(self.spec, self.cells)

    @property
    def all_recordings(self) -> tuple[RecordingsEntry, ...]:
        """Every set of recordings."""
        return self.datasets or (self.dataset,)

    @property
    def data_name(self) -> str:
        """The names of the recordings, without their folders."""
        names = list(dict.fromkeys(one.name for one in self.all_recordings))
        return names[0] if len(names) == 1 else f"{len(names)} data sets ({', '.join(names)})"


def plan_document(
    plan: Plan,
    lock_changed: Iterable[str] = (),
    exact_locked: Iterable[str] = (),
    seeds_added: Mapping[str, SeedsAdded] | None = None,
    rule: str = "",
    *,
    allow_mixed: bool = False,
) -> PlanDocument:
    """The document of a plan.

    Args:
        lock_changed: hypotheses that were changed after their first runs, see
            `orchestrator.store.registration`.
        exact_locked: hypotheses that keep the exact test of their lock.
        allow_mixed: whether runs of different decoder sources are used together.
        seeds_added: hypotheses that keep the seeds of their lock.
        rule: of the looks, where runs of the present source code alone are used.
    """
    spec = plan.loaded.spec
    data = dict.fromkeys(run.data for run in plan.runs)
    recordings = tuple(map(RecordingsEntry.model_validate, data))
    return PlanDocument(
        name=spec.name,
        question=spec.question,
        spec_file=str(plan.loaded.path),
        spec=spec,
        spec_hash=_hash_of(spec),
        dataset=recordings[0],
        datasets=recordings,
        arms=arm_entries(plan.loaded),
        aliases=aliases_of(spec),
        runs=tuple(map(RunEntry.model_validate, plan.runs)),
        packs=tuple(
            PackEntry(
                pack_id=pack.pack_id,
                seed=pack.seed,
                run_ids=tuple(run.run_id for run in pack.runs),
            )
            for pack in plan.packs
        ),
        contrasts=plan.contrasts,
        lock_changed=tuple(lock_changed),
        exact_locked=tuple(exact_locked),
        allow_mixed=allow_mixed,
        seeds_added=seeds_added or {},
        rule=f"{rule}-mixed" if rule and allow_mixed else rule,
    )


def _hash_of(spec: AblationSpec) -> str:
    """The hash of a specification, which the key `trainer` does not change where there is none."""
    written = spec.model_dump(mode="json", by_alias=True)
    if spec.trainer is None:
        del written["trainer"]
    return digest(written)


def arm_entries(loaded: Loaded) -> tuple[ArmEntry, ...]:
    """Every arm, with its parent."""
    first = {factor: names[0] for factor, names in levels_of(loaded.spec).items()}
    parent_of = parents(loaded.arms, first)
    return tuple(
        ArmEntry.model_validate(arm).model_copy(
            update={"parent": arm.candidate.after if arm.candidate else parent_of[arm.arm_id]}
        )
        for arm in loaded.arms
    )


def aliases_of(spec: AblationSpec) -> FractionDocument | None:
    """Generators, resolution and aliases of a ``fractional`` design; None for other designs."""
    return fraction_of(spec).document() if spec.design == "fractional" else None


def parents(arms: Sequence[Arm], first_levels: dict[str, str]) -> dict[str, str | None]:
    """The parent of each arm: the arm that differs from it in the fewest settings.

    The root is the arm of the design with every factor at its first level, or else the first arm
    of the design; it has no parent. The parent of any other arm of the design is the root or an arm
    before it; the parent of an extra arm is any arm of the design. The first of several counts.

    Returns:
        Arm id → id of its parent; None for the root.
    """
    designed = [arm for arm in arms if arm.in_design]
    root = next((arm for arm in designed if dict(arm.levels) == first_levels), designed[0])
    ordered = [root, *(arm for arm in designed if arm is not root)]
    ordered += [arm for arm in arms if not arm.in_design]
    codes = _codes(ordered)
    found: dict[str, str | None] = {root.arm_id: None}
    for index, arm in enumerate(ordered[1:], 1):
        n_candidates = min(index, len(designed))
        n_different = (codes[:, :n_candidates] != codes[:, index, None]).sum(axis=0, dtype=np.uint8)
        found[arm.arm_id] = ordered[int(n_different.argmin())].arm_id
    return {arm.arm_id: found[arm.arm_id] for arm in arms}


def _codes(arms: Sequence[Arm]) -> np.ndarray[tuple[int, int], np.dtype[np.uint16]]:
    """A code for each value, equal for equal values: (config paths that any arm changes, arms)."""
    paths = list(dict.fromkeys(path for arm in arms for path in arm.changes))
    known: dict[str, dict[Any, int]] = {path: {} for path in paths}
    common = {}
    for path in paths:  # the value in arms that do not change the path
        alone = next((arm for arm in arms if path not in arm.changes), arms[0])
        common[path] = flatten(alone.config).get(path, NOT_SET)
    rows = [
        [
            known[path].setdefault(_key(arm.changes.get(path, common[path])), len(known[path]))
            for path in paths
        ]
        for arm in arms
    ]
    return np.ascontiguousarray(np.array(rows, np.uint16).reshape(len(arms), len(paths)).T)


def _key(value: Any) -> Any:
    return repr(value) if isinstance(value, list | tuple | dict) else value
