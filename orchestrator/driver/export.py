"""Plans an ablation, locks its claims, and writes its runs as files for a lab to submit."""

from collections.abc import Sequence
from pathlib import Path

from decoder.errors import ConfigError
from orchestrator.driver.looks import take_looks
from orchestrator.driver.remarks import note_claims, note_recordings
from orchestrator.driver.shared_work import work_place
from orchestrator.execute.export import ArrayJob, Export, check_export, write_export
from orchestrator.plan.document import plan_document
from orchestrator.plan.looks import next_look, runs_wanted
from orchestrator.plan.plan import make_plan
from orchestrator.plan.recordings import PrepareData, prepare_data
from orchestrator.spec.load import Loaded
from orchestrator.store.ledger import read_records, with_result
from orchestrator.store.mixing import select_present
from orchestrator.store.paths import Results
from orchestrator.store.plan_file import write_plan
from orchestrator.store.registration import register
from orchestrator.terminal import Say


def export_ablation(
    loaded: Loaded,
    results: Results,
    folder: Path,
    job: ArrayJob,
    say: Say,
    command: Sequence[str],
    *,
    every: bool = False,
    describe: PrepareData = prepare_data,
) -> Export:
    """Write the runs of an ablation that are not recorded as files, see `write_export`.

    If looks stop arms, these are the runs up to the next look.

    The plan and the lock of the hypotheses are written as `run` writes them, so that the results
    that come back are those of claims that were registered before.

    Args:
        folder: gets the files.
        command: the command that makes the script, for a comment in it.
        every: whether recorded runs are exported, too.

    Raises:
        ConfigError: every run is recorded already, or see `write_export`.
        UserError: of any kind, from the recordings and the results folder.
    """
    name = loaded.spec.name
    check_export(folder, name, job)
    with work_place(results, name, say, share=False):
        data = describe(loaded.arms, results.datasets, say)
        note_recordings(data.values(), say)
        plan = make_plan(loaded, data, 1)
        records = read_records(results, plan.distinct, say, full=False)
        recorded = with_result(select_present(records, allow_mixed=False).used)
        note_claims(loaded, say)
        locked = register(plan, results, with_result(records))
        document = plan_document(plan, *locked)
        write_plan(results, document)
        document = take_looks(results, document, say)
        wanted = runs_wanted(document)
        runs = [
            run
            for run_id, run in plan.distinct.items()
            if run_id in wanted and (every or run_id not in recorded)
        ]
        if not runs:
            raise ConfigError(
                f"{name}: all {len(wanted)} runs are recorded; `report {name}` has the "
                "verdicts, and --all exports the runs again"
            )
        if (n_seeds := next_look(document)) is not None:
            say(
                f"the runs up to the look at {n_seeds} seeds are exported; once they are recorded, "
                "`export` takes the look and gives the runs that are still needed"
            )
        if loaded.spec.greedy is not None:
            say("the greedy path needs the results of the stated one; `run` continues with it")
        arms: dict[str, list[str]] = {}
        for run in plan.runs:
            arms.setdefault(run.run_id, []).append(run.arm_id)
        return write_export(folder, name, loaded.path, runs, arms, job, command)
