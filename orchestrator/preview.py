"""What a `run` would do, without doing it: runs, packs, forecast, claims that cannot be decided."""

from collections.abc import Mapping
from dataclasses import dataclass

from decoder.pack import Pack
from orchestrator.data import prepare_data
from orchestrator.forecast import Forecast, forecast
from orchestrator.ledger import Record, Say, read_records
from orchestrator.machine import Options
from orchestrator.paths import Results
from orchestrator.plan import Plan, make_plan, packs_to_train
from orchestrator.registration import changed_hypotheses
from orchestrator.run import note_other_code, with_result
from orchestrator.spec import Loaded


@dataclass(frozen=True)
class Preview:
    """A plan held against the ledger.

    Attributes:
        plan: everything planned.
        records: what is recorded of it, failures included.
        packs: what would be trained.
        forecast: how long that takes.
        untestable: hypothesis → why no result of this design could support it.
        lock_changed: hypotheses altered after runs of theirs existed.
    """

    plan: Plan
    records: Mapping[str, Record]
    packs: tuple[Pack, ...]
    forecast: Forecast
    untestable: Mapping[str, str]
    lock_changed: tuple[str, ...]


def preview(
    loaded: Loaded, results: Results, options: Options, say: Say, *, calibrate: bool
) -> Preview:
    """Plan an ablation and compare with the ledger; only recordings are prepared.

    Args:
        loaded: the checked ablation file.
        results: the ledger.
        options: how it would be trained.
        say: receives remarks.
        calibrate: whether to train a few steps where no record tells the cost.

    Raises:
        UserError: of any kind.
    """
    from orchestrator.reach import untestable  # scipy

    data = prepare_data(loaded.arms, results.datasets, say)
    plan = make_plan(loaded, data, options.n_workers, options.max_runs_per_pack)
    records = read_records(results, plan.distinct, say, move_aside=False)
    note_other_code(records, say)
    recorded = with_result(records)
    packs = packs_to_train(plan, recorded)
    return Preview(
        plan=plan,
        records=records,
        packs=tuple(packs),
        forecast=forecast(
            plan,
            packs,
            results,
            n_workers=options.n_workers,
            threads=options.threads,
            device=options.device,
            may_calibrate=calibrate,
        ),
        untestable={name: found.reason for name, found in untestable(loaded.spec).items()},
        lock_changed=changed_hypotheses(plan, results, recorded),
    )
