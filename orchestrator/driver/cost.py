"""Forecasts of the time and cost of training, from earlier records or a short calibration."""

import itertools
import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from decoder.config import DecoderConfig
from decoder.pack import Pack as DecoderPack
from orchestrator.driver.room import Peak, ShapeKey
from orchestrator.execute.backends import is_out_of_memory
from orchestrator.execute.machine import device_to_use
from orchestrator.plan.packs import Planned, PlannedPack, busy_time
from orchestrator.plan.plan import Plan
from orchestrator.spec.configuration import (
    CommandConfig,
    Pack,
    n_steps_of,
    of_our_decoder,
    pack_key,
)
from orchestrator.store.ledger import config_of
from orchestrator.store.record import Record

_CALIBRATION_STEPS = 5
_N_EVALUATIONS = 4  # in a calibration; the intervals between them give the scatter
# On a GPU the first steps choose kernels, reserve memory and capture graphs, also for batches of a
# length that has not occurred. So more evaluations are made, and the first ones are left out.
_N_WARM_UP_ON_GPU = 4
_SLOW_SECONDS = 5.0  # above this time per step, a calibration measures once only


@dataclass(frozen=True)
class Cost:
    """Device hours that training takes.

    Attributes:
        hours: device hours, counting the time for which a device is held.
        low, high: device hours if every step takes as long as in the fastest or in the slowest
            tenth of the earlier records (or calibration steps); equal to `hours` if there is only
            one.
        unit: ``core`` or ``GPU``.
    """

    hours: float
    low: float
    high: float
    unit: str


@dataclass(frozen=True)
class TimeForecast:
    """The time and cost of training packs.

    Attributes:
        seconds: wall time until the last pack ends; None if unknown.
        pack_seconds: pack id → wall time of that pack alone, in seconds.
        cost: device hours; None if unknown.
        source: where the numbers come from, as text for the user.
    """

    seconds: float | None
    pack_seconds: Mapping[str, float]
    cost: Cost | None
    source: str


class Rate(NamedTuple):
    """Seconds per run and step, for packs of one shape.

    Attributes:
        usual: the median.
        low, high: first and last decile.
    """

    usual: float
    low: float
    high: float


@dataclass(frozen=True)
class Pace:
    """How fast this machine trains.

    Attributes:
        rates: shape → rate, for every known shape.
        peaks: shape → peak memory, for the shapes that were calibrated.
        n_devices: devices that a pack holds.
        unit: kind of device, see `Cost`.
        source: where the rates come from, as text for the user.
    """

    rates: Mapping[ShapeKey, Rate]
    peaks: Mapping[ShapeKey, Peak]
    n_devices: float
    unit: str
    source: str


class Job(NamedTuple):
    """The work of one pack.

    Attributes:
        shape: recordings and shape of the pack, on which its rate depends.
        n_steps: steps to train, summed over its runs.
    """

    pack_id: str
    shape: ShapeKey
    n_steps: int


def jobs_of(plan: Plan, packs: Sequence[Pack]) -> tuple[Job, ...]:
    """The work of some packs of a plan, as `orchestrator.plan.packs.packs_to_train` gives them."""
    planned = {pack.pack_id: pack for pack in plan.packs}
    return tuple(
        Job(
            pack.pack_id,
            _key(planned[pack.pack_id]),
            sum(n_steps_of(run.config) for run in pack.runs),
        )
        for pack in packs
    )


def forecast(jobs: Sequence[Job], pace: Pace, n_workers: int) -> TimeForecast:
    """Forecast time and cost of `jobs` if `n_workers` of them train at the same time."""
    if not jobs:
        nothing = Cost(0.0, 0.0, 0.0, pace.unit)
        return TimeForecast(0.0, {}, nothing, "every run is recorded")
    if any(job.shape not in pace.rates for job in jobs):
        return TimeForecast(None, {}, None, "no earlier run of this shape is recorded")
    usual = {job.pack_id: pace.rates[job.shape].usual * job.n_steps for job in jobs}
    totals = (
        sum(getattr(pace.rates[job.shape], which) * job.n_steps for job in jobs)
        for which in ("usual", "low", "high")
    )
    hours, low, high = (pace.n_devices * total / 3600 for total in totals)
    wall = busy_time(usual.values(), n_workers)
    return TimeForecast(wall, usual, Cost(hours, low, high, pace.unit), pace.source)


def measure_pace(
    plan: Planned,
    packs: Sequence[Pack],
    recent: Sequence[Record],
    *,
    threads: int,
    device: str | None,
    may_calibrate: bool,
) -> Pace:
    """Measure how fast packs of these shapes train.

    Args:
        recent: records of any ablation.
        device: as in `orchestrator.execute.backends.Execution`.
        may_calibrate: whether to train a few steps for shapes without records; this loads torch.
    """
    on_gpu = device_to_use(device).startswith("cuda")
    unit, n_devices = ("GPU", 1.0) if on_gpu else ("core", float(threads))
    first = packs[0].runs[0].config if packs else None
    if isinstance(first, CommandConfig):
        gpus = first.trainer.gpus
        unit, n_devices = ("GPU", gpus) if gpus else ("core", float(threads))
    planned = {pack.pack_id: pack for pack in plan.packs}
    rates, n_records = _rates_from_records(recent, [planned[pack.pack_id] for pack in packs])
    missing = {}  # shape → its largest pack
    for pack in sorted(packs, key=lambda pack: len(pack.runs)):
        if _key(planned[pack.pack_id]) not in rates:
            missing[_key(planned[pack.pack_id])] = pack
    n_steps, peaks, limit = 0, {}, None
    for key, pack in missing.items():
        config = pack.runs[0].config
        if not isinstance(config, DecoderConfig):  # a command is not executed for a forecast
            limit = config.trainer.hours
            if limit is not None:
                rates[key] = _rate([3600 * limit / n_steps_of(config)])
        elif may_calibrate:
            found = _calibrate_what_fits(
                of_our_decoder(pack), planned[pack.pack_id], threads, device
            )
            if found is not None:
                rates[key], peaks[key] = found.rate, found.peak
                n_steps += found.n_steps
    sources = [f"earlier records of the same shape ({n_records})"] if n_records else []
    sources += [f"a calibration of {n_steps} steps"] if n_steps else []
    sources += [f"the limit of {limit:g} hours a run, so at most that"] if limit else []
    return Pace(rates, peaks, n_devices, unit, " and ".join(sources))


def _key(pack: PlannedPack) -> ShapeKey:
    return pack.data.fingerprint, pack.shape


def _rates_from_records(
    recent: Sequence[Record], packs: Sequence[PlannedPack]
) -> tuple[dict[ShapeKey, Rate], int]:
    """(fingerprint, shape) → seconds per run and step, and the number of records used.

    The cost of a run depends on the number of runs in its pack. So only the records whose pack
    size is nearest to that of the planned pack count.
    """
    sizes = {_key(pack): len(pack.runs) for pack in packs}
    seconds: dict[ShapeKey, dict[int, list[float]]] = {}  # shape → pack size → per run and step
    for record in recent:
        config = config_of(record)
        if record["status"] != "ok" or config is None:
            continue
        # A command reaches its end by its own count, which may differ from ours.
        is_ours = isinstance(config, DecoderConfig)
        n_steps = record["n_steps_done"] if is_ours else n_steps_of(config)
        if n_steps < 1:
            continue
        rate = record["timing"]["run_seconds"] / n_steps
        by_size = seconds.setdefault((record["dataset"]["fingerprint"], pack_key(config)), {})
        by_size.setdefault(record["pack"]["n_runs"], []).append(rate)
    rates, n_records = {}, 0
    for shape in seconds.keys() & sizes.keys():
        nearest = min(seconds[shape], key=lambda size: abs(size - sizes[shape]))
        rates[shape] = _rate(seconds[shape][nearest])
        n_records += len(seconds[shape][nearest])
    return rates, n_records


def _rate(values: Sequence[float]) -> Rate:
    """Median, first and last decile."""
    if len(values) == 1:
        return Rate(values[0], values[0], values[0])
    tenths = statistics.quantiles(values, n=10, method="inclusive")
    return Rate(statistics.median(values), tenths[0], tenths[-1])


class Calibration(NamedTuple):
    """What a few steps show: the rate, the peak memory, and how many steps these were."""

    rate: Rate
    peak: Peak
    n_steps: int


def _calibrate_what_fits(
    pack: DecoderPack, planned: PlannedPack, threads: int, device: str | None
) -> Calibration | None:
    """Calibrate a pack, or half of it while it runs out of memory; None if one run does too."""
    while True:
        try:
            return _calibrate(pack, planned, threads, device)
        except Exception as error:
            if not is_out_of_memory(error):
                raise
        if len(pack.runs) == 1:
            return None
        pack = replace(pack, runs=pack.runs[: len(pack.runs) // 2])


def _calibrate(
    pack: DecoderPack, planned: PlannedPack, threads: int, device: str | None
) -> Calibration:
    """Train a few steps of a pack and keep nothing.

    The pack is trained with two intervals between evaluations, which separates the time of a step
    from the time of an evaluation.
    """
    import torch

    from decoder.data.store import open_dataset
    from decoder.determinism import fix_workspace
    from decoder.train import choose_device, train

    fix_workspace()
    torch.set_num_threads(threads)
    dataset, where = open_dataset(planned.data.folder), choose_device(device)
    n_warm_up = _N_WARM_UP_ON_GPU if where.type == "cuda" else 1
    n_evaluations, peaks = n_warm_up - 1 + _N_EVALUATIONS, [0]

    def intervals(eval_every_steps: int) -> list[float]:
        """Seconds from one evaluation to the next; the time before the first is the warm-up."""
        times = []
        for progress in train(
            _shortened(pack, eval_every_steps, n_evaluations), dataset, device=device
        ):
            if where.type == "cuda":
                torch.cuda.synchronize(where)  # the clock is read when the GPU is done
            times.append(time.perf_counter())
            peaks.extend(result.peak_memory_bytes for result in progress.finished)
        return [later - earlier for earlier, later in itertools.pairwise(times)][n_warm_up - 1 :]

    ones = intervals(1)
    steps, n_steps = ones, n_evaluations
    if ones[0] < _SLOW_SECONDS:
        steps = [
            max((several - one) / (_CALIBRATION_STEPS - 1), 1e-6)
            for one, several in zip(ones, intervals(_CALIBRATION_STEPS), strict=True)
        ]
        n_steps += n_evaluations * _CALIBRATION_STEPS
    every = pack.runs[0].config.train.eval_every_steps
    rate = _rate(
        [
            (step + max(one - step, 0.0) / every) / len(pack.runs)
            for one, step in zip(ones, steps, strict=True)
        ]
    )
    return Calibration(rate, Peak(len(pack.runs), max(peaks)), n_steps)


def _shortened(pack: DecoderPack, eval_every_steps: int, n_evaluations: int) -> DecoderPack:
    steps = {"n_steps": n_evaluations * eval_every_steps, "eval_every_steps": eval_every_steps}
    runs = []
    for run in pack.runs:
        train = run.config.train.model_copy(update=steps)
        runs.append(replace(run, config=run.config.model_copy(update={"train": train})))
    return replace(pack, runs=tuple(runs))
