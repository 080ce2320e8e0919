"""What a plan will cost: from earlier records of the same shape, or a short calibration."""

import itertools
import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from pydantic import ValidationError

from decoder.config import DecoderConfig, pack_key
from decoder.pack import Pack
from orchestrator.execute.machine import count_gpus
from orchestrator.plan.packs import Planned, PlannedPack, busy_time
from orchestrator.plan.plan import Plan
from orchestrator.store.ledger import Record

_CALIBRATION_STEPS = 5
_N_EVALUATIONS = 4  # of a calibration: the intervals between them scatter
_SLOW_SECONDS = 5.0  # a step this slow is measured once, no more


ShapeKey = tuple[str, str]  # fingerprint of the recordings, shape of the pack


@dataclass(frozen=True)
class Cost:
    """What training takes of the machine.

    Attributes:
        hours: device hours, as long as a device is held.
        low, high: the same if every step costs what the cheapest or the dearest tenth of the
            earlier records (or calibrations) did; equal to `hours` where there is one alone.
        unit: ``core`` or ``GPU``.
    """

    hours: float
    low: float
    high: float
    unit: str


@dataclass(frozen=True)
class Forecast:
    """What training will take.

    Attributes:
        seconds: wall time until the last pack ends; None where nothing is known.
        pack_seconds: pack id → seconds of that pack alone.
        cost: device hours; None where nothing is known.
        source: where the figures come from, for people.
    """

    seconds: float | None
    pack_seconds: Mapping[str, float]
    cost: Cost | None
    source: str


class Rate(NamedTuple):
    """Seconds per run and step of packs of one shape."""

    usual: float
    low: float
    high: float


@dataclass(frozen=True)
class Pace:
    """How fast this machine trains.

    Attributes:
        rates: of every shape that is known.
        n_devices: devices a pack holds; unit: what they are, see `Cost`.
        source: where the rates come from, for people.
    """

    rates: Mapping[ShapeKey, Rate]
    n_devices: int
    unit: str
    source: str


class Job(NamedTuple):
    """The work of one pack.

    Attributes:
        pack_id: of the pack.
        shape: what its pace depends on.
        n_steps: steps to train, summed over its runs.
    """

    pack_id: str
    shape: ShapeKey
    n_steps: int


def jobs_of(plan: Plan, packs: Sequence[Pack]) -> tuple[Job, ...]:
    """The work of packs of a plan, as `orchestrator.plan.plan.packs_to_train` gives them."""
    planned = {pack.pack_id: pack for pack in plan.packs}
    return tuple(
        Job(
            pack.pack_id,
            _key(planned[pack.pack_id]),
            sum(run.config.train.n_steps for run in pack.runs),
        )
        for pack in packs
    )


def forecast(jobs: Sequence[Job], pace: Pace, n_workers: int) -> Forecast:
    """Forecast the training time of `jobs`, `n_workers` of them at the same time."""
    if not jobs:
        nothing = Cost(0.0, 0.0, 0.0, pace.unit)
        return Forecast(0.0, {}, nothing, "every run is recorded")
    if any(job.shape not in pace.rates for job in jobs):
        return Forecast(None, {}, None, "no earlier run of this shape is recorded")
    usual = {job.pack_id: pace.rates[job.shape].usual * job.n_steps for job in jobs}
    totals = (
        sum(getattr(pace.rates[job.shape], which) * job.n_steps for job in jobs)
        for which in ("usual", "low", "high")
    )
    hours, low, high = (pace.n_devices * total / 3600 for total in totals)
    wall = busy_time(usual.values(), n_workers)
    return Forecast(wall, usual, Cost(hours, low, high, pace.unit), pace.source)


def measure_pace(
    plan: Planned,
    packs: Sequence[Pack],
    recent: Sequence[Record],
    *,
    threads: int,
    device: str | None,
    may_calibrate: bool,
) -> Pace:
    """How fast packs of these shapes train.

    Args:
        plan: the plan they belong to.
        packs: some of its packs.
        recent: records of any ablation.
        threads: CPU threads of each pack.
        device: as in `orchestrator.execute.backends.Execution`.
        may_calibrate: whether a few steps may be trained where the ledger knows nothing; that
            loads torch.
    """
    on_gpu = device.startswith("cuda") if device is not None else count_gpus() > 0
    unit, n_devices = ("GPU", 1) if on_gpu else ("core", threads)
    planned = {pack.pack_id: pack for pack in plan.packs}
    rates, n_records = _rates_from_records(recent, [planned[pack.pack_id] for pack in packs])
    missing = {}  # shape → its largest pack
    for pack in sorted(packs, key=lambda pack: len(pack.runs)):
        if _key(planned[pack.pack_id]) not in rates:
            missing[_key(planned[pack.pack_id])] = pack
    n_steps = 0
    for key, pack in missing.items() if may_calibrate else ():
        rates[key], n_trained = _calibrate(pack, planned[pack.pack_id], threads, device)
        n_steps += n_trained
    sources = [f"earlier records of the same shape ({n_records})"] if n_records else []
    sources += [f"a calibration of {n_steps} steps"] if n_steps else []
    return Pace(rates, n_devices, unit, " and ".join(sources))


def _key(pack: PlannedPack) -> ShapeKey:
    return pack.data.fingerprint, pack.shape


def _rates_from_records(
    recent: Sequence[Record], packs: Sequence[PlannedPack]
) -> tuple[dict[ShapeKey, Rate], int]:
    """(fingerprint, shape) → seconds per run and step, and the number of records used.

    Of the records of one shape, those of the size nearest to the planned packs count: the cost
    of a run depends on how many share the pack.
    """
    sizes = {_key(pack): len(pack.runs) for pack in packs}
    found: dict[ShapeKey, dict[int, list[float]]] = {}
    for record in recent:
        shape = _shape(record)
        key = (record["dataset"]["fingerprint"], shape)
        if shape is None or key not in sizes or record["n_steps_done"] < 1:
            continue
        rate = record["timing"]["run_seconds"] / record["n_steps_done"]
        found.setdefault((key[0], shape), {}).setdefault(record["pack"]["n_runs"], []).append(rate)
    rates, n_records = {}, 0
    for found_key, by_size in found.items():
        nearest = min(by_size, key=lambda size: abs(size - sizes[found_key]))
        rates[found_key] = _rate(by_size[nearest])
        n_records += len(by_size[nearest])
    return rates, n_records


def _rate(values: Sequence[float]) -> Rate:
    """The median, and where the middle four fifths lie."""
    if len(values) == 1:
        return Rate(values[0], values[0], values[0])
    tenths = statistics.quantiles(values, n=10, method="inclusive")
    return Rate(statistics.median(values), tenths[0], tenths[-1])


def _shape(record: Record) -> str | None:
    """The pack key of a record; None if it failed or its configuration is of another version."""
    if record["status"] != "ok":
        return None
    try:
        return pack_key(DecoderConfig.model_validate(record["config"]))
    except ValidationError:
        return None


def _calibrate(
    pack: Pack, planned: PlannedPack, threads: int, device: str | None
) -> tuple[Rate, int]:
    """Train a few steps of a pack, nothing kept: seconds per run and step, and steps taken.

    Two rhythms of evaluation tell the cost of a step from that of an evaluation.
    """
    import torch

    from decoder.data.store import open_dataset
    from decoder.train import train

    torch.set_num_threads(threads)
    dataset = open_dataset(planned.data.folder)

    def intervals(eval_every_steps: int) -> list[float]:
        """Seconds from one evaluation to the next; what precedes the first is the warm-up."""
        times = []
        for _ in train(_shortened(pack, eval_every_steps), dataset, device=device):
            times.append(time.perf_counter())
        return [later - earlier for earlier, later in itertools.pairwise(times)]

    ones = intervals(1)
    steps, n_steps = ones, _N_EVALUATIONS
    if ones[0] < _SLOW_SECONDS:
        steps = [
            max((several - one) / (_CALIBRATION_STEPS - 1), 1e-6)
            for one, several in zip(ones, intervals(_CALIBRATION_STEPS), strict=True)
        ]
        n_steps += _N_EVALUATIONS * _CALIBRATION_STEPS
    every = pack.runs[0].config.train.eval_every_steps
    return _rate(
        [
            (step + max(one - step, 0.0) / every) / len(pack.runs)
            for one, step in zip(ones, steps, strict=True)
        ]
    ), n_steps


def _shortened(pack: Pack, eval_every_steps: int) -> Pack:
    runs = []
    for run in pack.runs:
        train = run.config.train.model_copy(
            update={
                "n_steps": _N_EVALUATIONS * eval_every_steps,
                "eval_every_steps": eval_every_steps,
            }
        )
        runs.append(replace(run, config=run.config.model_copy(update={"train": train})))
    return replace(pack, runs=tuple(runs))
