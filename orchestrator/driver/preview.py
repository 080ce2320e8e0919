"""A preview of `run`: runs, packs, cost, power, and claims that cannot be decided."""

import math
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from orchestrator.driver.budget import Budget, plan_budget, seconds_left
from orchestrator.driver.changed_code import changed_code
from orchestrator.driver.changed_data import ChangedData, find_changed_data
from orchestrator.driver.cost import Cost, Job, Pace, TimeForecast, forecast, jobs_of, measure_pace
from orchestrator.driver.grow import grow, rounds_planned
from orchestrator.driver.priors import Prior, find_rates, find_spreads, find_stuck_arms
from orchestrator.driver.remarks import check_machines, note_recordings, note_starts
from orchestrator.driver.room import PackRoom, ShapeMemory, find_room, keep_calibrations
from orchestrator.execute.machine import Options, device_name
from orchestrator.execute.memory_limits import FreeMemory
from orchestrator.plan.document import SeedsAdded, plan_document
from orchestrator.plan.looks import next_look, runs_not_needed, runs_wanted
from orchestrator.plan.packs import packs_to_train
from orchestrator.plan.plan import Plan, make_plan
from orchestrator.plan.recordings import PrepareData, Recordings, prepare_data
from orchestrator.spec.arms import Arm
from orchestrator.spec.claim_text import mismatched_claims, what_counts
from orchestrator.spec.claims import stops_early
from orchestrator.spec.configuration import Pack, n_steps_of
from orchestrator.spec.load import Loaded
from orchestrator.spec.schema import AblationSpec
from orchestrator.store.ledger import read_records, recent_records, with_result
from orchestrator.store.look_files import with_looks
from orchestrator.store.mixing import kept_of_present, select, select_present, sources_text
from orchestrator.store.paths import Results
from orchestrator.store.provenance import version_of
from orchestrator.store.record import Record
from orchestrator.store.registration import check_lock
from orchestrator.store.sources import training_sha256
from orchestrator.store.under_way import steps_under_way
from orchestrator.terminal import Say

if TYPE_CHECKING:
    from orchestrator.stats.power_forecast import PowerForecast
    from orchestrator.stats.runs_forecast import ExpectedRuns


@dataclass(frozen=True)
class SeedChoice:
    """The remaining cost and the power of one number of seeds.

    Attributes:
        n_seeds: seeds per arm.
        n_runs: number of runs.
        n_recorded: runs that are recorded and need no training.
        cost: device hours of the other runs; None if unknown.
        seconds: wall time of the other runs; None if unknown.
        power: one entry per hypothesis.
    """

    n_seeds: int
    n_runs: int
    n_recorded: int
    cost: Cost | None
    seconds: float | None
    power: tuple["PowerForecast", ...]


@dataclass(frozen=True)
class GreedyBound:
    """Upper bounds for the rounds of a greedy path that are not planned yet.

    Attributes:
        n_arms, n_runs: arms and runs that they can add.
        cost: device hours; None if unknown.
        seconds: wall time; None if unknown.
    """

    n_arms: int
    n_runs: int
    cost: Cost | None
    seconds: float | None


@dataclass(frozen=True)
class DesignCost:
    """What looks are expected to cost at one size of the effects, beside fixed seeds.

    Attributes:
        expected: runs and power.
        hours: device hours with the looks; None if unknown.
        fixed_hours: device hours of the fixed seeds; None if unknown.
    """

    expected: "ExpectedRuns"
    hours: float | None
    fixed_hours: float | None


@dataclass(frozen=True)
class Preview:
    """A plan compared with the records.

    Attributes:
        records: run id → record of the runs that need no training, and of failures.
        again: run id → record of the runs that `run` trains again, because other decoder sources
            trained them.
        other_sources: how many these are, of how many, and what is known of their sources; empty
            if there are none. Where mixed sources are allowed, it speaks of runs that are used.
        machines: texts on versions of PyTorch and devices that differ.
        changed_data: recordings that changed since runs of this plan were recorded.
        packs: the packs that `run` would train, up to the next look.
        memory: what packs may hold, one entry per shape.
        free_memory: the memory that a pack may take; None if unknown.
        forecast: time and cost of these packs.
        greedy: bounds for the greedy path; None without one.
        untestable: hypothesis → why no result of this design can support it.
        what_counts: hypothesis → when it is supported, refuted and inconclusive.
        cautions: hypothesis → a further condition for its support.
        mismatched: hypothesis → why its words seem to contradict its direction.
        stuck: hypothesis → which arms that it compares mostly learn nothing, by the records.
        lock_changed: hypotheses that were written or altered after runs that decide them.
        seeds_added: hypotheses to which seeds were added after runs that decide them.
        spreads: outcome → spread of its differences over seeds.
        rates: hypothesis about shares of runs → the share in its reference arms.
        power: one entry per hypothesis, with the seeds of the file; those of the lock where others
            were added later.
        choices: one entry per other number of seeds that was requested.
        budget: what a limit of time allows; None without one.
        next_look: seeds of the look that is due next; None if there is none that stops arms.
        n_not_needed: runs without a result that no open claim needs.
        designs: the expected cost of looks that stop arms; empty without any, or if no spread is
            known.
    """

    plan: Plan
    records: Mapping[str, Record]
    again: Mapping[str, Record]
    other_sources: str
    machines: tuple[str, ...]
    changed_data: tuple[ChangedData, ...]
    packs: tuple[Pack, ...]
    memory: tuple[ShapeMemory, ...]
    free_memory: FreeMemory | None
    forecast: TimeForecast
    greedy: GreedyBound | None
    untestable: Mapping[str, str]
    what_counts: Mapping[str, str]
    cautions: Mapping[str, str]
    mismatched: Mapping[str, str]
    stuck: Mapping[str, str]
    lock_changed: tuple[str, ...]
    seeds_added: Mapping[str, SeedsAdded]
    spreads: Mapping[str, Prior]
    rates: Mapping[str, Prior]
    power: tuple["PowerForecast", ...]
    choices: tuple[SeedChoice, ...]
    budget: Budget | None = None
    next_look: int | None = None
    n_not_needed: int = 0
    designs: tuple[DesignCost, ...] = ()


def make_preview(
    loaded: Loaded,
    results: Results,
    options: Options,
    say: Say,
    *,
    calibrate: bool,
    n_seeds: Sequence[int] = (),
    describe: PrepareData = prepare_data,
    allow_mixed: bool = False,
    strict: bool = False,
    hours: float | None = None,
) -> Preview:
    """Plan an ablation and compare the plan with the records.

    Only recordings are written, and the memory that a calibration measured.

    Args:
        calibrate: whether to train a few steps if no record gives the cost.
        n_seeds: other numbers of seeds to compare.
        allow_mixed, strict, hours: see `orchestrator.driver.run.run_ablation`.

    Raises:
        UserError: of any kind.
    """
    from orchestrator.stats.power_forecast import forecast_power  # scipy
    from orchestrator.stats.reach import cautions, idle_texts, untestable

    def prepare(arms: Sequence[Arm]) -> Mapping[str, Recordings]:
        return describe(arms, results.datasets, say)

    data = prepare(loaded.arms)
    note_recordings(data.values(), say)
    recent = recent_records(results)
    room = find_room(results, loaded.spec.name, options, recent)

    def cut(room: PackRoom) -> tuple[Plan, Plan]:
        """The plan as stated, and with the rounds of a greedy path that the records determine."""
        stated = make_plan(loaded, data, options.n_workers, options.max_runs_per_pack, room)
        return stated, grow(stated, results, options, prepare, allow_mixed=allow_mixed, room=room)

    stated, plan = cut(room)
    note_starts(plan, say)
    if text := changed_code(plan, results):
        say(text)
    every = read_records(results, plan.distinct, say, move_aside=False, full=False)
    others = select(every, training_sha256()).others
    if not allow_mixed:
        back = kept_of_present(results, others)
        every |= back
        others = {run_id: record for run_id, record in others.items() if run_id not in back}
    records = select_present(every, allow_mixed=allow_mixed).used
    recorded = with_result(records)
    lock = check_lock(plan, results, with_result(every))
    document = with_looks(results, plan_document(plan, *lock, allow_mixed=allow_mixed))
    spared = plan.distinct.keys() - runs_wanted(document)
    packs = packs_to_train(plan.packs, {*recorded, *spared})
    machines = check_machines(
        records.values(),
        lambda text: None,
        strict=strict,
        torch=version_of("torch") if packs else None,
        device=device_name(options) if packs else None,
    )
    stops = stops_early(loaded.spec)
    all_shapes = bool(n_seeds) or stops or loaded.spec.greedy is not None
    pace = measure_pace(
        plan,
        packs_to_train(plan.packs, ()) if all_shapes else packs,
        recent,
        threads=options.threads,
        device=options.device,
        may_calibrate=calibrate,
    )
    if pace.peaks:  # what was measured replaces the estimate, here and in `run`
        keep_calibrations(results, room.device, pace.peaks)
        room = room.with_peaks(pace.peaks)
        stated, plan = cut(room)
        packs = packs_to_train(plan.packs, {*recorded, *spared})
    spreads = find_spreads(plan, recent, results)
    rates = find_rates(plan, recent, results)
    known = {outcome: spread.value for outcome, spread in spreads.items()}
    shares = {name: rate.value for name, rate in rates.items() if math.isfinite(rate.value)}

    def power_with(n: int, spec: AblationSpec = loaded.spec) -> tuple["PowerForecast", ...]:
        return forecast_power(spec, [n], known, shares)

    of_locked = {
        name: power
        for name, added in lock.seeds_added.items()
        for power in power_with(len(added.locked), added.as_locked(loaded.spec))
        if power.hypothesis == name
    }
    of_packs = forecast(jobs_of(plan, packs), pace, options.at_a_time)
    budget = None
    if hours is not None:
        done = steps_under_way(results, loaded.spec.name)
        seconds = seconds_left(packs, of_packs.pack_seconds, done)
        budget = plan_budget(plan, packs, seconds, options.at_a_time, hours)
    every_seed = power_with(len(loaded.spec.seeds))
    return Preview(
        plan=plan,
        records=records,
        again={} if allow_mixed else others,
        other_sources=sources_text(others, len(with_result(every))) if others else "",
        machines=machines,
        changed_data=find_changed_data(plan, with_result(every), results, options),
        packs=tuple(packs),
        memory=tuple(room.of_packs(plan.packs).values()),
        free_memory=room.free,
        forecast=of_packs,
        greedy=_greedy_bound(plan, pace, options.at_a_time) if loaded.spec.greedy else None,
        untestable={name: limit.reason for name, limit in untestable(loaded.spec).items()},
        what_counts=what_counts(
            loaded.spec,
            lock.exact,
            {name: added.as_locked(loaded.spec) for name, added in lock.seeds_added.items()},
        ),
        cautions=idle_texts(loaded.spec) | cautions(loaded.spec),
        mismatched=mismatched_claims(loaded.spec),
        stuck=find_stuck_arms(plan, recent, results),
        lock_changed=lock.changed,
        seeds_added=lock.seeds_added,
        spreads=spreads,
        rates=rates,
        power=tuple(of_locked.get(power.hypothesis, power) for power in every_seed),
        choices=tuple(_choices(stated, recorded, n_seeds, pace, options.at_a_time, power_with)),
        budget=budget,
        next_look=next_look(document),
        n_not_needed=len(runs_not_needed(document, recorded)),
        designs=_designs(plan, pace, options.at_a_time, known, shares) if stops else (),
    )


def _designs(
    plan: Plan,
    pace: Pace,
    n_workers: int,
    spreads: Mapping[str, float],
    rates: Mapping[str, float],
) -> tuple[DesignCost, ...]:
    """What the looks are expected to cost, and fixed seeds of the same power.

    A run is taken to cost the mean of all runs of the plan.
    """
    from orchestrator.stats.runs_forecast import expected_runs  # scipy

    whole = forecast(jobs_of(plan, packs_to_train(plan.packs, ())), pace, n_workers).cost
    hours = None if whole is None else whole.hours / len(plan.distinct)
    spec, n_arms = plan.loaded.spec, len(plan.loaded.arms)
    expected = expected_runs(spec, plan.loaded.compared, n_arms, spreads, rates)
    return tuple(
        DesignCost(one, hours and hours * one.n_runs, hours and hours * one.fixed_runs)
        for one in expected
    )


def _choices(
    plan: Plan,
    recorded: Collection[str],
    n_seeds: Sequence[int],
    pace: Pace,
    n_workers: int,
    power_with: Callable[[int], tuple["PowerForecast", ...]],
) -> Iterator[SeedChoice]:
    """Cost and power of other numbers of seeds: those of the file in order, then new seeds.

    New seeds have no records, and the same packs as the first seed of the file.
    """
    seeds = plan.loaded.spec.seeds
    blocks = {pack.pack_id: pack.runs[0].block for pack in plan.packs}
    every = jobs_of(plan, packs_to_train(plan.packs, ()))
    left = jobs_of(plan, packs_to_train(plan.packs, recorded))
    n_runs = Counter(run.block for run in plan.distinct.values())
    n_recorded = Counter(run.block for id_, run in plan.distinct.items() if id_ in recorded)
    for n in n_seeds:
        kept, n_new = seeds[:n], max(0, n - len(seeds))
        jobs = [job for seed in kept for job in left if blocks[job.pack_id] == seed]
        jobs += [
            job._replace(pack_id=f"{job.pack_id}+{index}")
            for index in range(n_new)
            for job in every
            if blocks[job.pack_id] == seeds[0]
        ]
        needed = forecast(jobs, pace, n_workers)
        yield SeedChoice(
            n_seeds=n,
            n_runs=sum(n_runs[seed] for seed in kept) + n_new * n_runs[seeds[0]],
            n_recorded=sum(n_recorded[seed] for seed in kept),
            cost=needed.cost,
            seconds=needed.seconds,
            power=power_with(n),
        )


def _greedy_bound(plan: Plan, pace: Pace, n_workers: int) -> GreedyBound:
    """Bounds for the rounds that are not planned yet.

    They assume that no arm costs more than the most expensive arm of the plan, and that each
    round waits for the one before.
    """
    from orchestrator.verdicts.greedy import n_greedy_arms_left  # pandas

    seeds, n_factors = plan.loaded.spec.seeds, len(plan.loaded.spec.factors)
    at = rounds_planned(plan)
    n_arms = n_greedy_arms_left(n_factors, at)
    n_steps = max(n_steps_of(run.config) for run in plan.runs)
    shapes = {job.shape for job in jobs_of(plan, packs_to_train(plan.packs, ()))}
    costliest = max(shapes, key=lambda s: pace.rates[s].usual if s in pace.rates else math.inf)
    rounds = []
    for done in range(at, n_factors):
        n_new = n_greedy_arms_left(n_factors, done) - n_greedy_arms_left(n_factors, done + 1)
        jobs = [Job(f"round {done + 1}, seed {seed}", costliest, n_new * n_steps) for seed in seeds]
        rounds.append(jobs if n_new else [])
    whole = forecast([job for jobs in rounds for job in jobs], pace, n_workers)
    seconds = [forecast(jobs, pace, n_workers).seconds for jobs in rounds]
    known = [value for value in seconds if value is not None]
    return GreedyBound(
        n_arms=n_arms,
        n_runs=n_arms * len(seeds),
        cost=whole.cost,
        seconds=sum(known) if len(known) == len(seconds) else None,
    )
