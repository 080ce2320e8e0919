"""What a `run` would do, without doing it: runs, packs, cost, power, claims beyond deciding."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from decoder.pack import Pack
from orchestrator.data import prepare_data
from orchestrator.forecast import Cost, Forecast, forecast
from orchestrator.ledger import Record, Say, read_records
from orchestrator.machine import Options
from orchestrator.paths import Results
from orchestrator.plan import Plan, make_plan, packs_to_train
from orchestrator.registration import changed_hypotheses
from orchestrator.run import note_other_code, with_result
from orchestrator.spec import Loaded

if TYPE_CHECKING:
    from orchestrator.power import Forecast as PowerForecast
    from orchestrator.spreads import Spread


@dataclass(frozen=True)
class SeedChoice:
    """What so many seeds would cost in all, and what they could show.

    Attributes:
        n_seeds: seeds of every arm.
        n_runs: runs in all, those recorded already included.
        cost: device hours of all of them; None if unknown.
        seconds: wall time; None if unknown.
        power: one entry a hypothesis.
    """

    n_seeds: int
    n_runs: int
    cost: Cost | None
    seconds: float | None
    power: tuple["PowerForecast", ...]


@dataclass(frozen=True)
class Preview:
    """A plan held against the ledger.

    Attributes:
        plan: everything planned.
        records: what is recorded of it, failures included.
        packs: what would be trained.
        forecast: what that takes.
        untestable: hypothesis → why no result of this design could support it.
        cautions: hypothesis → what else must come out for it to be supported.
        lock_changed: hypotheses written or altered after runs of theirs existed.
        spreads: outcome → how much it differs from seed to seed.
        power: one entry a hypothesis, at the seeds of the file.
        choices: for other numbers of seeds, if they were asked for.
    """

    plan: Plan
    records: Mapping[str, Record]
    packs: tuple[Pack, ...]
    forecast: Forecast
    untestable: Mapping[str, str]
    cautions: Mapping[str, str]
    lock_changed: tuple[str, ...]
    spreads: Mapping[str, "Spread"]
    power: tuple["PowerForecast", ...]
    choices: tuple[SeedChoice, ...]


def preview(
    loaded: Loaded,
    results: Results,
    options: Options,
    say: Say,
    *,
    calibrate: bool,
    n_seeds: Sequence[int] = (),
) -> Preview:
    """Plan an ablation and compare with the ledger; only recordings are prepared.

    Args:
        loaded: the checked ablation file.
        results: the ledger.
        options: how it would be trained.
        say: receives remarks.
        calibrate: whether to train a few steps where no record tells the cost.
        n_seeds: other numbers of seeds to weigh up.

    Raises:
        UserError: of any kind.
    """
    from orchestrator.power import forecast_power  # scipy
    from orchestrator.reach import cautions, untestable
    from orchestrator.spreads import find_spreads  # pandas

    data = prepare_data(loaded.arms, results.datasets, say)
    plan = make_plan(loaded, data, options.n_workers, options.max_runs_per_pack)
    records = read_records(results, plan.distinct, say, move_aside=False)
    note_other_code(records, say)
    recorded = with_result(records)
    packs = packs_to_train(plan, recorded)

    def cost_of(some: Sequence[Pack]) -> Forecast:
        return forecast(
            plan,
            some,
            results,
            n_workers=options.n_workers,
            threads=options.threads,
            device=options.device,
            may_calibrate=calibrate,
        )

    left = cost_of(packs)
    spreads = find_spreads(plan, results)
    known = {outcome: spread.value for outcome, spread in spreads.items()}
    choices: tuple[SeedChoice, ...] = ()
    if n_seeds:
        full = cost_of(packs_to_train(plan, ())) if recorded else left
        choices = tuple(_choice(plan, n, full, known) for n in n_seeds)
    return Preview(
        plan=plan,
        records=records,
        packs=tuple(packs),
        forecast=left,
        untestable={name: found.reason for name, found in untestable(loaded.spec).items()},
        cautions=cautions(loaded.spec),
        lock_changed=changed_hypotheses(plan, results, recorded),
        spreads=spreads,
        power=forecast_power(loaded.spec, [len(loaded.spec.seeds)], known),
        choices=choices,
    )


def _choice(plan: Plan, n_seeds: int, full: Forecast, spreads: Mapping[str, float]) -> SeedChoice:
    """The whole plan with another number of seeds; its looks are left out of account."""
    from orchestrator.power import forecast_power

    spec = plan.loaded.spec
    share = n_seeds / len(spec.seeds)
    return SeedChoice(
        n_seeds=n_seeds,
        n_runs=round(len(plan.distinct) * share),
        cost=None if full.cost is None else full.cost.times(share),
        seconds=None if full.seconds is None else full.seconds * share,
        power=forecast_power(spec.model_copy(update={"looks": ()}), [n_seeds], spreads),
    )
