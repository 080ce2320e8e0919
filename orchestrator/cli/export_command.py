"""``export``: an ablation as files, one per run, for labs that submit by hand."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from orchestrator.cli.options import (
    JsonOption,
    NoticeOption,
    ProfileOption,
    RestartsOption,
    ResultsOption,
    SbatchOption,
    SetUpOption,
    SpecArgument,
    TimeLimitOption,
    handled,
    print_json,
    say_results,
)
from orchestrator.terminal import remarks


@handled
def export(
    spec: SpecArgument,
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Gets the files.")],
    profile: ProfileOption = None,
    results: ResultsOption = Path("results"),
    cpus: Annotated[int, typer.Option(min=1, help="CPUs of each run.")] = 4,
    gpus: Annotated[int, typer.Option(min=0, help="GPUs of each run.")] = 0,
    at_once: Annotated[
        int,
        typer.Option(min=0, metavar="N", help="Runs at the same time.", show_default="no limit"),
    ] = 0,
    time: TimeLimitOption = "8:00:00",
    notice_seconds: NoticeOption = 120,
    restarts: RestartsOption = 20,
    sbatch: SbatchOption = None,
    set_up: SetUpOption = None,
    python: Annotated[
        str | None,
        typer.Option(metavar="PATH", help="Python on the cluster.", show_default="this one"),
    ] = None,
    data: Annotated[
        str | None,
        typer.Option(
            metavar="PATH",
            help="Where the recordings lie on the cluster.",
            show_default="data.path of the runs",
        ),
    ] = None,
    datasets: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Keeps packed recordings on the cluster.",
            show_default="datasets of the results folder",
        ),
    ] = None,
    every: Annotated[bool, typer.Option("--all", help="Export recorded runs, too.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Write the runs of an ablation as files and an array script; import-runs takes the results."""
    from orchestrator.driver.export import export_ablation
    from orchestrator.execute.export import SCRIPT, ArrayJob
    from orchestrator.spec.load import load_spec
    from orchestrator.store.paths import Results

    loaded = load_spec(spec, profile)
    say_results(results)
    store = Results(results)
    job = ArrayJob(
        cpus=cpus,
        gpus=gpus,
        at_once=at_once,
        time_limit=time,
        notice_seconds=notice_seconds,
        most_restarts=restarts,
        lines=sbatch or (),
        set_up=set_up or (),
        python=python or sys.executable,
        datasets=(datasets or store.datasets).absolute(),
        data=data,
    )
    command = ["python", "-m", "orchestrator", *sys.argv[1:]]
    written = export_ablation(loaded, store, folder, job, remarks(), command, every=every)
    if as_json:
        print_json(
            {
                "name": written.name,
                "kind": written.kind,
                "folder": str(folder),
                "script": str(folder / SCRIPT),
                "runs": [run._asdict() for run in written.runs],
            }
        )
        return
    typer.echo(f"{folder}: {len(written.runs)} runs of {written.name}, one file each")
    typer.echo(f"submit them there with `sbatch {SCRIPT}`, then `import-runs {folder}`")
