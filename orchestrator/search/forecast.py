"""What a search will cost, before anything is spent: candidates, rungs, steps, time."""

import dataclasses
import statistics
from typing import Any, NamedTuple

from orchestrator.driver.cost import measure_pace
from orchestrator.execute.machine import Options
from orchestrator.plan.packs import packs_to_train
from orchestrator.plan.plan import make_plan
from orchestrator.plan.recordings import prepare_data
from orchestrator.search.confirm import Winner, confirmation, level_name
from orchestrator.search.rungs import brackets_of, expected_share
from orchestrator.search.schema import Confirm
from orchestrator.search.space import corners
from orchestrator.search.spec import LoadedSearch, Tuned
from orchestrator.store.ledger import recent_records
from orchestrator.store.paths import Results
from orchestrator.terminal import Say


class SearchForecast(NamedTuple):
    """What a search takes from its beginning; what is recorded already makes it less.

    Attributes:
        name: the search.
        n_candidates: over all arms; n_runs: with all their seeds.
        brackets: rungs of each bracket, of the first arm.
        search_steps: training steps expected of the search: the mean if figures at the rungs
            were drawn by lot. A sampler that improves lets more candidates go on.
        most_steps: if every candidate were trained to the end.
        confirm_steps: training steps of the confirmation.
        seconds: wall time of search and confirmation; None where the pace is not known.
        source: where the pace comes from, for people.
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

    def document(self) -> dict[str, Any]:
        """As JSON."""
        return self._asdict()


def forecast_search(
    loaded: LoadedSearch, results: Results, options: Options, say: Say, *, may_calibrate: bool
) -> SearchForecast:
    """Forecast a search.

    Args:
        loaded: the search file.
        results: the ledger, for the pace of earlier runs; of searches.
        options: how the packs are made and trained.
        say: for remarks on the recordings.
        may_calibrate: whether a few steps may be trained where the ledger knows nothing.

    Raises:
        UserError: of the recordings.
    """
    spec = loaded.spec
    search = most = confirm = 0.0
    for tuned in loaded.arms:
        n_steps = tuned.config.train.n_steps
        full = float(n_steps * spec.n_candidates * len(spec.seeds))
        brackets = brackets_of(spec.stopping, n_steps, tuned.config.train.eval_every_steps)
        factor = spec.stopping.reduction_factor
        search += full * sum(b.share * expected_share(b, n_steps, factor) for b in brackets)
        most += full
        if spec.confirm:
            confirm += n_steps * (spec.confirm.best + 1) * len(spec.confirm.seeds)
    rate, source = _seconds_a_step(loaded, results, options, say, may_calibrate)
    train = loaded.arms[0].config.train
    first = brackets_of(spec.stopping, train.n_steps, train.eval_every_steps)
    n_candidates = spec.n_candidates * len(loaded.arms)
    return SearchForecast(
        name=spec.name,
        n_candidates=n_candidates,
        n_runs=n_candidates * len(spec.seeds),
        brackets=tuple(bracket.rungs for bracket in first),
        search_steps=round(search),
        most_steps=round(most),
        confirm_steps=round(confirm),
        seconds=None if rate is None else rate * (search + confirm) / options.at_a_time,
        source=source,
    )


def _seconds_a_step(
    loaded: LoadedSearch, results: Results, options: Options, say: Say, may_calibrate: bool
) -> tuple[float | None, str]:
    """Seconds a run and step in packs of a batch, and where that comes from."""
    spec = loaded.spec.model_copy(
        update={"confirm": Confirm(best=1, seeds=(0, 1), margin=1.0), "hypotheses": {}}
    )
    likely = [stand_in for t in loaded.arms for stand_in in _batch(loaded, t)]
    ablation = confirmation(dataclasses.replace(loaded, spec=spec), likely)
    data = prepare_data(ablation.arms, results.datasets, say)
    bare = ablation.spec.model_copy(update={"hypotheses": {}})
    plan = make_plan(
        dataclasses.replace(ablation, spec=bare), data, options.n_workers, options.max_runs_per_pack
    )
    pace = measure_pace(
        plan, packs_to_train(plan.packs, ()), recent_records(results),
        threads=options.threads, device=options.device, may_calibrate=may_calibrate,
    )  # fmt: skip
    if not pace.rates:
        return None, "no earlier run of this shape is recorded"
    return statistics.fmean(rate.usual for rate in pace.rates.values()), pace.source


def _batch(loaded: LoadedSearch, tuned: Tuned) -> list[Winner]:
    """Candidates at the ends of the space, as many as a batch has: what a pack may look like."""
    ends = corners(tuned.space, loaded.spec.batch)
    return [
        Winner(level_name(loaded.spec, tuned.name, rank), tuned.name, rank, 0, params, 0.0)
        for rank, params in enumerate(ends, 1)
    ]
