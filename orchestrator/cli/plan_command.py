"""The command `plan`: a preview of `run`, without training."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from decoder.errors import ConfigError
from orchestrator.cli.options import (
    BackendChoice,
    BackendOption,
    DeviceOption,
    GpusOption,
    HoursOption,
    JsonOption,
    MixedOption,
    PackOption,
    ProfileOption,
    ResultsOption,
    SpecArgument,
    StrictOption,
    ThreadsOption,
    WorkersOption,
    handled,
    print_json,
    say_results,
    say_threads,
)
from orchestrator.terminal import remarks


@handled
def plan(
    spec: SpecArgument,
    profile: ProfileOption = None,
    results: ResultsOption = Path("results"),
    backend: BackendOption = BackendChoice.ray,
    workers: WorkersOption = None,
    threads: ThreadsOption = None,
    device: DeviceOption = None,
    max_runs_per_pack: PackOption = 16,
    gpus_per_pack: GpusOption = None,
    hours: HoursOption = None,
    calibrate: Annotated[
        bool, typer.Option(help="Train a few steps to measure the speed if no record shows it.")
    ] = True,
    seeds: Annotated[
        str | None,
        typer.Option(metavar="4,6,10", help="Also show power and cost for these numbers of seeds."),
    ] = None,
    allow_mixed: MixedOption = False,
    strict: StrictOption = False,
    as_json: JsonOption = False,
) -> None:
    """Show which runs an ablation would train, their cost, and which effects they could detect."""
    from orchestrator.cli.plan_view import preview_document, print_preview
    from orchestrator.driver.preview import make_preview
    from orchestrator.execute.machine import choose_options
    from orchestrator.spec.load import load_spec
    from orchestrator.store.paths import Results

    loaded = load_spec(spec, profile)
    options = choose_options(
        backend.value,
        workers,
        threads,
        device,
        None,
        max_runs_per_pack,
        gpus_per_pack=gpus_per_pack,
    )
    say_results(results)
    say_threads(options)
    seen = make_preview(
        loaded,
        Results(results),
        options,
        remarks(),
        calibrate=calibrate,
        n_seeds=_numbers("--seeds", seeds),
        allow_mixed=allow_mixed,
        strict=strict,
        hours=hours,
    )
    if as_json:
        print_json(preview_document(seen))
    else:
        print_preview(Console(), seen)


def _numbers(option: str, text: str | None) -> list[int]:
    """Whole numbers of at least 1, in the order given."""
    numbers = [part.strip() for part in text.split(",")] if text else []
    if not all(number.isdecimal() and len(number) <= 6 and int(number) > 0 for number in numbers):
        raise ConfigError(
            f"{option} {text}: must be whole numbers from 1 to 999999, such as 4,6,10"
        )
    return [int(number) for number in numbers]
