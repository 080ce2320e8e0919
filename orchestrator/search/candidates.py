"""The candidates of a batch: proposed together, resolved to runs, and packed."""

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from optuna.trial import FrozenTrial, TrialState

from decoder.errors import ConfigError
from orchestrator.execute.machine import Options
from orchestrator.plan.packs import PlannedPack, PlannedRun, Room, make_packs
from orchestrator.plan.recordings import Recordings
from orchestrator.plan.starts import started
from orchestrator.search.rungs import Bracket, brackets_for, next_bracket
from orchestrator.search.schema import SearchSpec
from orchestrator.search.space import configure
from orchestrator.search.study import FINISHED, ArmStudy, bare_arm, notes
from orchestrator.spec.arms import Arm
from orchestrator.spec.configuration import CommandConfig, Configuration, pack_key, resolve, run_id
from orchestrator.terminal import Say

# Prepares the recordings of arms, by arm id.
PrepareRecordings = Callable[[Sequence[Arm]], Mapping[str, Recordings]]


@dataclass(frozen=True)
class SearchCandidate:
    """One trial with its runs.

    Attributes:
        number: of the trial.
        config: resolved.
        run_ids: one a seed, in the order of the file.
    """

    number: int
    config: Configuration
    run_ids: tuple[str, ...]


@dataclass(frozen=True)
class CandidateBatch:
    """Candidates that reach every rung together.

    Attributes:
        number: batches are counted from 0.
        bracket: its rungs.
        candidates: by trial number, those that ended before a restart included.
        packs: every distinct run once, see `orchestrator.plan.plan.make_packs`.
    """

    number: int
    bracket: Bracket
    candidates: Mapping[int, SearchCandidate]
    packs: tuple[PlannedPack, ...]

    @property
    def distinct(self) -> dict[str, PlannedRun]:
        """Run id → run, each once."""
        return {run.run_id: run for pack in self.packs for run in pack.runs}


def next_batch(
    study: ArmStudy,
    options: Options,
    recordings: PrepareRecordings,
    say: Say,
    room: Room | None = None,
) -> CandidateBatch | None:
    """The unfinished batch, or a new one; None once all candidates were tried.

    A candidate whose settings the decoder refuses is closed with the reason, and counts as tried.

    Args:
        room: see `orchestrator.plan.packs.make_packs`.

    Raises:
        UserError: the recordings cannot be prepared.
    """
    trials = study.trials()
    running = [trial for trial in trials if trial.state == TrialState.RUNNING]
    numbers = [notes(trial)["batch"] for trial in trials if "batch" in notes(trial)]
    unfinished = [notes(trial)["batch"] for trial in running if "batch" in notes(trial)]
    number = min(unfinished) if unfinished else max(numbers, default=-1) + 1
    members = [trial.number for trial in trials if notes(trial).get("batch") == number]
    members += [trial.number for trial in running if "batch" not in notes(trial)]
    if not any(notes(trials[member]).get("run_ids") for member in members):
        others = [trial for trial in trials if trial.number not in members]
        n_left = study.spec.n_candidates - sum(_counts_as_tried(study, trial) for trial in others)
        while len(members) < min(study.spec.batch, n_left):
            members.append(study.ask())
    if not members:
        return None
    bracket = _bracket(study, number)
    proposed = {member: _propose(study, member, number, bracket, say) for member in members}
    configs = {member: config for member, config in proposed.items() if config is not None}
    if not configs:
        return next_batch(study, options, recordings, say, room)
    return pack_candidates(study.spec, number, bracket, configs, options, recordings, room)


def pack_candidates(
    spec: SearchSpec,
    number: int,
    bracket: Bracket,
    configs: Mapping[int, Configuration],
    options: Options,
    recordings: PrepareRecordings,
    room: Room | None = None,
) -> CandidateBatch:
    """Plan the runs of a batch, one for each candidate and seed.

    Args:
        number, bracket: of the batch.
        configs: candidate → resolved configuration.
        room: see `orchestrator.plan.packs.make_packs`.

    Raises:
        UserError: the recordings cannot be prepared, or a candidate cannot start from the weights
            that it names.
    """
    data = recordings([bare_arm(str(member), config) for member, config in configs.items()])
    configs = {member: started(config, data[str(member)]) for member, config in configs.items()}
    runs: list[PlannedRun] = []
    candidates = {}
    for member, config in configs.items():
        own = data[str(member)]
        ids = tuple(run_id(config, seed, own.fingerprint) for seed in spec.seeds)
        runs += [
            PlannedRun(one, str(member), seed, config, own, seed)
            for one, seed in zip(ids, spec.seeds, strict=True)
        ]
        candidates[member] = SearchCandidate(member, config, ids)
    shapes = {str(member): pack_key(config) for member, config in configs.items()}
    is_command = any(isinstance(config, CommandConfig) for config in configs.values())
    most = 1 if is_command else options.max_runs_per_pack
    packs = make_packs(runs, shapes, options.n_workers, most, room)
    return CandidateBatch(number, bracket, candidates, packs)


def _counts_as_tried(study: ArmStudy, trial: FrozenTrial) -> bool:
    if trial.state == TrialState.FAIL:
        return study.is_given_up(trial)
    return trial.state in (*FINISHED, TrialState.RUNNING)


def _bracket(study: ArmStudy, number: int) -> Bracket:
    """The bracket of a batch: as noted, or the next one."""
    brackets = brackets_for(study.spec.stopping, study.arm.config)
    taken: Counter[int] = Counter()
    for noted in map(notes, study.trials()):
        if noted.get("batch") == number and "bracket" in noted:
            return brackets[noted["bracket"]]
        if noted.get("batch", math.inf) < number:
            taken[noted["bracket"]] += 1
    return next_bracket(brackets, taken)


def _propose(
    study: ArmStudy, member: int, number: int, bracket: Bracket, say: Say
) -> Configuration | None:
    """The resolved configuration of a trial; None if it failed or the decoder refuses it."""
    trial = study.trial(member)
    if trial.state == TrialState.FAIL:
        return None
    params = dict(trial.params)
    if trial.state == TrialState.RUNNING:
        params = study.propose(member)
        if "batch" not in notes(trial):
            study.note(member, {"bracket": bracket.number, "batch": number})
    try:
        return resolve(configure(study.arm.config, params, where=f"candidate {member}"))
    except ConfigError as error:
        reason = " ".join(error.problems)
        study.fail(member, {"reason": reason, "refused": True, "given_up": True})
        say(reason)
        return None
