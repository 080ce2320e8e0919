"""The plan of an ablation: its arms and seeds make runs, and runs make packs."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from decoder.config import DecoderConfig
from decoder.errors import ConfigError
from decoder.parameters import MOST_PARAMETERS
from decoder.part_sizes import n_parameters
from orchestrator.plan.contrasts import CleanContrast, prove_contrasts
from orchestrator.plan.looks import seeds_of_stages
from orchestrator.plan.packs import (
    MAX_RUNS_PER_PACK,
    PlannedPack,
    PlannedRun,
    Room,
    make_packs,
)
from orchestrator.plan.recordings import Recordings
from orchestrator.plan.starts import started_arms
from orchestrator.spec.configuration import is_per_run, pack_key, resolve, run_id
from orchestrator.spec.load import AblationSpec, Loaded


@dataclass(frozen=True)
class Plan:
    """Everything that an ablation trains, and the proof that it can be compared.

    Attributes:
        runs: one entry per arm and seed.
        packs: the packs; each run id is in one of them.
        contrasts: the proof that compared arms differ in the factor alone.
    """

    loaded: Loaded
    runs: tuple[PlannedRun, ...]
    packs: tuple[PlannedPack, ...]
    contrasts: tuple[CleanContrast, ...]

    @property
    def distinct(self) -> dict[str, PlannedRun]:
        """Run id → run."""
        return {run.run_id: run for pack in self.packs for run in pack.runs}


def make_plan(
    loaded: Loaded,
    data: Mapping[str, Recordings],
    n_workers: int,
    max_runs_per_pack: int = MAX_RUNS_PER_PACK,
    room: Room | None = None,
) -> Plan:
    """Plan every run of an ablation.

    Args:
        data: arm id → its recordings.
        n_workers: packs trained at the same time.
        max_runs_per_pack: most runs in a pack.
        room: see `orchestrator.plan.packs.make_packs`.

    Raises:
        ConfigError: two compared arms differ in more than the factor's paths, or not at all; a
            model is too large for any machine; or an arm cannot start from its weights.
    """
    contrasts = prove_contrasts(loaded)
    _check_sizes(loaded, data)
    configs = started_arms(loaded.path, loaded.arms, data)
    runs = []
    shapes = {}
    keys: dict[str, str] = {}  # arms that differ only in per-run values share a key
    for arm in loaded.arms:
        config, of_arm = resolve(configs[arm.arm_id]), data[arm.arm_id]
        shaping = repr([(p, v) for p, v in arm.changes.items() if not is_per_run(config, p)])
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
    # A command trains one run.
    most = max_runs_per_pack if isinstance(loaded.base, DecoderConfig) else 1
    packs: list[PlannedPack] = []
    for stage in _stages(loaded.spec, runs):
        packs += make_packs(stage, shapes, n_workers, most, room)
    return Plan(loaded=loaded, runs=tuple(runs), packs=tuple(packs), contrasts=contrasts)


def _stages(spec: AblationSpec, runs: Sequence[PlannedRun]) -> Iterator[list[PlannedRun]]:
    """The runs that train between two looks, each run id once: packs keep all workers busy then."""
    seen: set[str] = set()
    for seeds in map(set, seeds_of_stages(spec)):
        stage = [run for run in runs if run.block in seeds and run.run_id not in seen]
        seen |= {run.run_id for run in stage}
        if stage:
            yield stage


def _check_sizes(loaded: Loaded, data: Mapping[str, Recordings]) -> None:
    """Refuse models that, with the features and days of the recordings, fit no machine."""
    problems = []
    for arm in loaded.arms:
        if not isinstance(arm.config, DecoderConfig):
            continue
        of_arm, model = data[arm.arm_id], arm.config.model
        try:
            n = n_parameters(arm.config, of_arm.n_features, of_arm.n_classes, len(of_arm.sessions))
        except ConfigError as error:  # of a part of the user's
            problems += [f"{loaded.path}: arm {arm.arm_id}: {text}" for text in error.problems]
            continue
        if n > MOST_PARAMETERS:
            problems.append(
                f"{loaded.path}: arm {arm.arm_id}: has {n:.2g} parameters ({of_arm.n_features} "
                f"features, {len(of_arm.sessions)} days, model.patch_size {model.patch_size}, "
                f"model.n_units {model.n_units}, model.n_layers {model.n_layers}), but at most "
                f"{MOST_PARAMETERS:.0e} fit into the memory of a GPU; make the model smaller"
            )
    if problems:
        raise ConfigError(problems)


def joined(plan: Plan, more: Plan) -> Plan:
    """A plan with the runs of both. The two have no arm in common, and `more` no hypotheses."""
    loaded = replace(plan.loaded, arms=(*plan.loaded.arms, *more.loaded.arms))
    return Plan(loaded, (*plan.runs, *more.runs), (*plan.packs, *more.packs), plan.contrasts)


def _check_distinct(
    path: Path, contrasts: Iterable[CleanContrast], runs: Iterable[PlannedRun]
) -> None:
    """Refuse a contrast between arms that are the same run, as when one writes out a default."""
    ids = {(run.arm_id, run.seed): run.run_id for run in runs}
    by_arm = {arm_id: run for (arm_id, _), run in ids.items()}  # the last seed's is enough
    problems = [
        f"{path}: hypotheses.{proof.hypothesis}: arms {proof.from_arm} and {proof.to_arm} are the "
        f"same run once defaults are filled in (as written they differ in "
        f"{', '.join(proof.changed)}); change a level or leave the hypothesis out"
        for proof in contrasts
        if proof.from_arm in by_arm and by_arm[proof.from_arm] == by_arm[proof.to_arm]
    ]
    if problems:
        raise ConfigError(problems)
