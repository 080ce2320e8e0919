"""Candidates asked and judged together: which trials they are, their runs, their packs.

What a search has to know again after it was killed stands in the trials' ``user_attrs``:
``batch``, ``bracket``, ``run_ids``, ``recorded_before``, and at the end ``endings``,
``per_seed``, ``n_steps``; ``reason``, ``given_up`` and ``refused`` of one that failed.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from optuna.trial import FrozenTrial, TrialState

from decoder.config import DecoderConfig, pack_key, resolve, run_id
from decoder.errors import ConfigError
from decoder.pack import Pack, Run
from orchestrator.execute.machine import Options
from orchestrator.execute.recording import Planned
from orchestrator.plan.packs import PlannedPack, PlannedRun, make_packs
from orchestrator.plan.recordings import Recordings, prepare_data
from orchestrator.search.rungs import Bracket, brackets_of, next_bracket
from orchestrator.search.schema import SearchSpec
from orchestrator.search.space import Params, configure
from orchestrator.search.spec import Tuned
from orchestrator.search.study import FINISHED, Book
from orchestrator.spec.arms import Arm
from orchestrator.terminal import Say


@dataclass(frozen=True)
class Candidate:
    """One trial with its configuration.

    Attributes:
        number: of the trial.
        params: config path → proposed value.
        config: resolved.
        run_ids: one a seed, in the order of the file.
    """

    number: int
    params: Params
    config: DecoderConfig
    run_ids: tuple[str, ...]


@dataclass(frozen=True)
class Batch:
    """Candidates that reach every rung together.

    Attributes:
        number: batches are counted from 0.
        bracket: its rungs.
        candidates: by trial number; those that ended before a restart included.
        packs: every distinct run once, see `orchestrator.plan.plan.make_packs`.
    """

    number: int
    bracket: Bracket
    candidates: Mapping[int, Candidate]
    packs: tuple[PlannedPack, ...]

    @property
    def distinct(self) -> dict[str, PlannedRun]:
        """Run id → run, each once."""
        return {run.run_id: run for pack in self.packs for run in pack.runs}


def next_batch(
    book: Book, spec: SearchSpec, tuned: Tuned, options: Options, datasets: Path, say: Say
) -> Batch | None:
    """The batch that was under way, or a new one; None once all candidates have been tried.

    A candidate that the decoder's configuration refuses is closed with the reason, and counts.

    Raises:
        UserError: of the recordings.
    """
    trials = book.trials()
    running = [t for t in trials if t.state == TrialState.RUNNING]
    numbers = [t.user_attrs["batch"] for t in trials if "batch" in t.user_attrs]
    unfinished = [t.user_attrs["batch"] for t in running if "batch" in t.user_attrs]
    number = min(unfinished) if unfinished else max(numbers, default=-1) + 1
    members = [t.number for t in trials if t.user_attrs.get("batch") == number]
    members += [t.number for t in running if "batch" not in t.user_attrs]
    has_begun = any(trials[m].user_attrs.get("run_ids") for m in members)
    if not has_begun:
        n_left = spec.n_candidates - sum(
            _counts(book, t) for t in trials if t.number not in members
        )
        while len(members) < min(spec.batch, n_left):
            members.append(book.ask().number)
    if not members:
        return None
    bracket = _bracket(book, spec, tuned, number)
    candidates = [
        candidate
        for member in members
        if (candidate := _propose(book, spec, tuned, member, number, bracket, say)) is not None
    ]
    if not candidates:
        return next_batch(book, spec, tuned, options, datasets, say)
    return _with_runs(book, spec, number, bracket, candidates, options, datasets, say)


def packs_of(planned: Planned, run_ids: frozenset[str]) -> list[tuple[Path, Pack]]:
    """The packs that train these runs, each with the store of its recordings; largest first."""
    left = []
    for pack in planned.packs:
        runs = tuple(Run(r.run_id, r.config) for r in pack.runs if r.run_id in run_ids)
        if runs:
            left.append((pack.data.folder, Pack(pack.pack_id, pack.seed, runs)))
    return sorted(left, key=lambda item: -len(item[1].runs))


def _counts(book: Book, trial: FrozenTrial) -> bool:
    """Whether a trial is one of the candidates tried: it ended as such, or is under way."""
    if trial.state == TrialState.FAIL:
        return book.is_given_up(trial)
    return trial.state in (*FINISHED, TrialState.RUNNING)


def _bracket(book: Book, spec: SearchSpec, tuned: Tuned, number: int) -> Bracket:
    train = tuned.config.train
    brackets = brackets_of(spec.stopping, train.n_steps, train.eval_every_steps)
    taken: dict[int, int] = {}
    for trial in book.trials():
        attrs = trial.user_attrs
        if attrs.get("batch") == number and "bracket" in attrs:
            return next(b for b in brackets if b.number == attrs["bracket"])
        if attrs.get("batch", math.inf) < number:
            taken[attrs["bracket"]] = taken.get(attrs["bracket"], 0) + 1
    return next_bracket(brackets, taken)


def _propose(
    book: Book,
    spec: SearchSpec,
    tuned: Tuned,
    member: int,
    number: int,
    bracket: Bracket,
    say: Say,
) -> Candidate | None:
    frozen = book.frozen(member)
    if frozen.state == TrialState.FAIL:
        return None
    if frozen.state == TrialState.RUNNING:
        trial = book.trial(member)
        params = book.propose(trial)
        if "batch" not in frozen.user_attrs:
            trial.set_user_attr("bracket", bracket.number)
            trial.set_user_attr("batch", number)
    else:
        params = dict(frozen.params)
    try:
        config = resolve(configure(tuned.config, params, where=f"candidate {member}"))
    except ConfigError as error:
        reason = " ".join(error.problems)
        book.trial(member).set_user_attr("reason", reason)
        book.trial(member).set_user_attr("refused", True)
        book.trial(member).set_user_attr("given_up", True)
        book.study.tell(member, state=TrialState.FAIL)
        say(reason)
        return None
    return Candidate(member, params, config, ())


def _with_runs(
    book: Book,
    spec: SearchSpec,
    number: int,
    bracket: Bracket,
    candidates: Sequence[Candidate],
    options: Options,
    datasets: Path,
    say: Say,
) -> Batch:
    arms = [Arm(str(c.number), str(c.number), {}, c.params, c.config, True) for c in candidates]
    data = prepare_data(arms, datasets, say)
    planned, named = [], {}
    for candidate in candidates:
        arm_id, config = str(candidate.number), candidate.config
        of_arm: Recordings = data[arm_id]
        ids = tuple(run_id(config, seed, of_arm.fingerprint) for seed in spec.seeds)
        planned += [
            PlannedRun(identity, arm_id, seed, config, of_arm, seed)
            for identity, seed in zip(ids, spec.seeds, strict=True)
        ]
        named[candidate.number] = Candidate(candidate.number, candidate.params, config, ids)
        if "run_ids" not in book.frozen(candidate.number).user_attrs:
            book.trial(candidate.number).set_user_attr("run_ids", list(ids))
    shapes = {str(c.number): pack_key(c.config) for c in candidates}
    packs = make_packs(planned, shapes, options.n_workers, options.max_runs_per_pack)
    return Batch(number, bracket, named, packs)
