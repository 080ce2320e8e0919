"""The command `judge`: hypotheses over runs that exist, decided and reported as an ablation's."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from orchestrator.cli.options import JsonOption, ResultsOption, handled, print_json, say_results
from orchestrator.terminal import remarks


@handled
def judge(
    claims: Annotated[
        Path, typer.Argument(metavar="CLAIMS", help="The YAML file of hypotheses and conditions.")
    ],
    runs: Annotated[
        list[str],
        typer.Argument(
            metavar="RUNS...",
            help="Ablations, single arms (NAME:ARM), run ids with commas between, the runs folder, "
            "CSV tables, folders of runs trained elsewhere, or names of imported groups.",
        ),
    ],
    results: ResultsOption = Path("results"),
    as_json: JsonOption = False,
) -> None:
    """Judge hypotheses over runs that exist; verdicts say that nothing was registered before."""
    from orchestrator.cli import run_view as views
    from orchestrator.query.judge.judge import judge_runs
    from orchestrator.report.verdict_rows import read_verdicts
    from orchestrator.store.paths import Results

    store = Results(results)
    say_results(results)
    document = judge_runs(claims, runs, store, remarks())
    assert document.judged is not None
    folder = store.of_judged.ablation(document.name)
    verdicts = read_verdicts(folder)
    if as_json:
        print_json(
            {
                "name": document.name,
                "registered": False,
                "n_runs": len(document.run_ids),
                "sources": document.judged.sources,
                "remarks": document.judged.remarks,
                "answer": views.read_answer(folder),
                "folder": str(folder),
                "verdicts": verdicts,
            }
        )
    else:
        n_blocks = len(document.spec.seeds)
        counts = f"{len(document.run_ids)} runs in {len(document.arms)} arms and {n_blocks} blocks"
        views.print_report(Console(), verdicts, counts, folder)
