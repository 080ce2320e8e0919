"""``slurm``: a batch script that runs an ablation on a SLURM cluster."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from orchestrator.cli.options import (
    NoticeOption,
    ProfileOption,
    RestartsOption,
    ResultsOption,
    SbatchOption,
    SetUpOption,
    SpecArgument,
    TimeLimitOption,
    handled,
)


@handled
def slurm(
    spec: SpecArgument,
    profile: ProfileOption = None,
    results: ResultsOption = Path("results"),
    nodes: Annotated[int, typer.Option(min=1, help="Nodes; Ray connects several.")] = 1,
    cpus_per_node: Annotated[int, typer.Option(min=1, help="CPUs of each node.")] = 4,
    gpus_per_node: Annotated[int, typer.Option(min=0, help="GPUs of each node.")] = 0,
    array: Annotated[
        int,
        typer.Option(
            min=0,
            metavar="N",
            help="Instead of Ray: N tasks, each on one node, that share the results folder.",
            show_default="no array",
        ),
    ] = 0,
    time: TimeLimitOption = "8:00:00",
    notice_seconds: NoticeOption = 120,
    restarts: RestartsOption = 20,
    sbatch: SbatchOption = None,
    set_up: SetUpOption = None,
    output: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Where to write it; - is standard output.",
            show_default="NAME.sbatch",
        ),
    ] = None,
) -> None:
    """Write a batch script that trains an ablation on a SLURM cluster, stops in time and goes on.

    The script asks to be queued again before its time limit. Nodes of a job need not share a disk,
    but the node that runs the script, and each task of an array, must see the results folder.
    """
    from decoder.atomic import write_atomically
    from orchestrator.execute.slurm import Job, batch_script
    from orchestrator.spec.keys import name_with_extensions
    from orchestrator.spec.load import load_spec

    # Files of the user's parts are run on the cluster, and not here.
    name = name_with_extensions(spec) or load_spec(spec, profile).spec.name
    file = Path(f"{name}.sbatch") if output is None else output
    run = [str(spec.absolute()), "--results", str(results.absolute())]
    text = batch_script(
        Job(
            n_nodes=nodes,
            cpus_per_node=cpus_per_node,
            gpus_per_node=gpus_per_node,
            n_tasks=array,
            time_limit=time,
            notice_seconds=notice_seconds,
            most_restarts=restarts,
            lines=sbatch or (),
            set_up=set_up or (),
        ),
        name,
        run if profile is None else [*run, "--profile", profile],
        python=sys.executable,
        directory=Path.cwd(),
        logs=results.absolute() / "slurm",
        file=file,
        command=["python", "-m", "orchestrator", *sys.argv[1:]],
    )
    (results / "slurm").mkdir(parents=True, exist_ok=True)  # SLURM does not make it
    if str(file) == "-":
        typer.echo(text, nl=False)
        return
    write_atomically(file, text.encode())
    typer.echo(f"{file}: submit it with `sbatch {file}`; output comes to {results}/slurm")
