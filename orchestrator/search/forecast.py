"""Forecasts what a search will cost before anything is trained: candidates, steps and time."""

import statistics
from typing import NamedTuple

from orchestrator.driver.cost import measure_pace
from orchestrator.execute.machine import Options
from orchestrator.plan.packs import packs_to_train
from orchestrator.plan.recordings import prepare_data
from orchestrator.search.candidates import pack_candidates
from orchestrator.search.load import LoadedSearch
from orchestrator.search.rungs import NO_BRACKET, brackets_for, expected_share
from orchestrator.search.space import configure, corners
from orchestrator.spec.configuration import n_steps_of, resolve
from orchestrator.store.ledger import recent_records
from orchestrator.store.paths import Results
from orchestrator.terminal import Say


class SearchForecast(NamedTuple):
    """What a whole search takes; runs that are recorded already make it less.

    Attributes:
        name: the search.
        n_candidates: candidates of all arms.
        n_runs: their runs, one a seed.
        brackets: the rungs of each bracket of the first arm.
        search_steps: training steps expected of the search, if the scores at the rungs were
            random. With a sampler that improves, more candidates continue.
        most_steps: training steps if every candidate were trained to the end.
        confirm_steps: training steps of the confirmation.
        seconds: wall time of search and confirmation; None if the speed is not known.
        source: where the speed comes from, for people.
    """

    name: str
    n_candidates: int
    n_runs: int
    brackets: tuple[tuple[int, ...], ...]
    search_steps: int
    most_steps: int
    confirm_steps: int
    seconds: float | None
    source: str


def forecast_search(
    loaded: LoadedSearch,
    results: Results,
    options: Options,
    say: Say,
    *,
    may_calibrate: bool,
) -> SearchForecast:
    """Forecast a search; earlier records show the speed.

    Args:
        may_calibrate: whether a few steps may be trained if no record shows the speed.

    Raises:
        UserError: the recordings cannot be prepared.
    """
    spec = loaded.spec
    search = most = confirm = 0.0
    rungs = []
    for arm in loaded.arms:
        n_steps = n_steps_of(arm.config)
        brackets = brackets_for(spec.stopping, arm.config)
        rungs.append(tuple(bracket.rungs for bracket in brackets))
        full = float(n_steps * spec.n_candidates * len(spec.seeds))
        factor = spec.stopping.reduction_factor
        search += full * sum(b.share * expected_share(b, n_steps, factor) for b in brackets)
        most += full
        if spec.confirm:
            confirm += n_steps * (spec.confirm.best + 1) * len(spec.confirm.seeds)
    rate, source = _seconds_a_step(loaded, results, options, say, may_calibrate)
    n_candidates = spec.n_candidates * len(loaded.arms)
    return SearchForecast(
        name=spec.name,
        n_candidates=n_candidates,
        n_runs=n_candidates * len(spec.seeds),
        brackets=rungs[0],
        search_steps=round(search),
        most_steps=round(most),
        confirm_steps=round(confirm),
        seconds=None if rate is None else rate * (search + confirm) / options.at_a_time,
        source=source,
    )


def _seconds_a_step(
    loaded: LoadedSearch, results: Results, options: Options, say: Say, may_calibrate: bool
) -> tuple[float | None, str]:
    """Seconds a run and step in packs like those of a batch, and where that comes from.

    Bases and candidates at the ends of the space stand for the candidates of a batch.
    """
    spec = loaded.spec
    likely = [
        configure(arm.config, params, where=arm.name)
        for arm in loaded.arms
        for params in ({}, *corners(arm.space, spec.batch))
    ]
    configs = dict(enumerate(map(resolve, likely)))
    batch = pack_candidates(
        spec, 0, NO_BRACKET, configs, options, lambda a: prepare_data(a, results.datasets, say)
    )
    pace = measure_pace(
        batch, packs_to_train(batch.packs, ()), recent_records(results),
        threads=options.threads, device=options.device, may_calibrate=may_calibrate,
    )  # fmt: skip
    if not pace.rates:
        return None, "no earlier run of this shape is recorded"
    return statistics.fmean(rate.usual for rate in pace.rates.values()), pace.source
