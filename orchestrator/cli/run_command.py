"""The commands `run`, `report` and `status`: train an ablation, report it, count its runs."""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from orchestrator.cli.options import (
    AcceptOption,
    AddressOption,
    BackendChoice,
    BackendOption,
    DeviceOption,
    GpusOption,
    GraceOption,
    HangOption,
    HoursOption,
    JsonOption,
    MixedOption,
    NotifyOption,
    PackOption,
    ProfileOption,
    ResultsOption,
    ShareOption,
    SpecArgument,
    StrictOption,
    TensorboardOption,
    ThreadsOption,
    WorkersOption,
    accepting,
    handled,
    is_file_name,
    local_alone,
    print_json,
    say_results,
    say_threads,
)
from orchestrator.terminal import remarks

if TYPE_CHECKING:
    from orchestrator.store.paths import Results

_started = time.monotonic()


@handled
def run(
    context: typer.Context,
    spec: SpecArgument,
    profile: ProfileOption = None,
    results: ResultsOption = Path("results"),
    backend: BackendOption = BackendChoice.ray,
    workers: WorkersOption = None,
    threads: ThreadsOption = None,
    device: DeviceOption = None,
    address: AddressOption = None,
    max_runs_per_pack: PackOption = 16,
    gpus_per_pack: GpusOption = None,
    hours: HoursOption = None,
    hang_minutes: HangOption = 10.0,
    grace_seconds: GraceOption = None,
    allow_mixed: MixedOption = False,
    strict: StrictOption = False,
    accept_changes: AcceptOption = False,
    share_work: ShareOption = False,
    tensorboard: TensorboardOption = False,
    notify: NotifyOption = None,
    as_json: JsonOption = False,
) -> None:
    """Train the runs of an ablation that are not recorded, and write its verdicts and report."""
    from orchestrator.cli import run_view as views
    from orchestrator.driver.notify import command_line, notifying
    from orchestrator.driver.run import run_ablation
    from orchestrator.execute.machine import choose_options
    from orchestrator.report.verdict_rows import read_verdicts
    from orchestrator.spec.load import load_spec
    from orchestrator.store.paths import Results

    loaded = load_spec(spec, profile)
    if share_work:
        backend = local_alone(context)
    options = choose_options(
        backend.value,
        workers,
        threads,
        device,
        address,
        max_runs_per_pack,
        gpus_per_pack=gpus_per_pack,
        hang_minutes=hang_minutes,
        grace_seconds=grace_seconds,
    )
    command = command_line(notify) if notify is not None else ()
    say_results(results)
    say_threads(options)
    with notifying(command, "ablation", loaded.spec.name, remarks()) as notifier:
        outcome = run_ablation(
            loaded,
            Results(results),
            options,
            Console(stderr=True),
            set_up_seconds=time.monotonic() - _started,
            allow_mixed=allow_mixed,
            strict=strict,
            accept=accepting(accept_changes),
            hours=hours,
            share_work=share_work,
            tensorboard=tensorboard,
            notifier=notifier,
        )
        verdicts = read_verdicts(outcome.folder) if outcome.is_reported else []
        notifier.ended(
            views.summary_line(outcome, verdicts),
            outcome.exit_code,
            n_runs=outcome.n_runs,
            n_recorded=outcome.n_recorded,
            n_failed=outcome.n_failed,
            n_trained=outcome.n_trained,
            verdicts={row["hypothesis"]: row["verdict"] for row in verdicts},
            folder=str(outcome.folder),
        )
    if as_json:
        print_json(views.outcome_document(outcome, verdicts))
    else:
        views.print_outcome(Console(), outcome, verdicts)
    if outcome.exit_code:
        raise typer.Exit(outcome.exit_code)


@handled
def report(
    name: Annotated[
        str,
        typer.Argument(
            metavar="NAME|SPEC",
            help="Name or file of an ablation, a search or a judgement that was run before.",
        ),
    ],
    results: ResultsOption = Path("results"),
    allow_mixed: MixedOption = False,
    strict: StrictOption = False,
    as_json: JsonOption = False,
) -> None:
    """Rebuild the tables, verdicts, figures and report of an ablation, search or judgement."""
    from orchestrator.cli import run_view as views
    from orchestrator.driver.reporting import rebuild_report
    from orchestrator.plan.looks import runs_not_needed
    from orchestrator.report.verdict_rows import read_verdicts
    from orchestrator.store.ledger import with_result
    from orchestrator.store.paths import Results
    from orchestrator.store.plan_file import read_plan

    store = Results(results)
    ablation, search, judged = _named(name, store)
    if ablation is None and judged is not None:
        store, ablation = store.of_judged, judged
    elif judged is not None:
        remarks()(f"'{name}' is an ablation and a judgement; for the judgement, give its YAML file")
    if ablation is None:
        from orchestrator.cli.search_command import report_search
        from orchestrator.search.kept import named_search

        loaded = named_search(name, store.of_searches)
        assert loaded is not None
        report_search(loaded, store.of_searches, as_json=as_json)
        return
    if search is not None:
        remarks()(f"'{name}' is an ablation and a search; for the search, give its YAML file")
    document = read_plan(store, ablation)
    if allow_mixed:
        document = document.model_copy(update={"allow_mixed": True})
    say_results(results)
    used = rebuild_report(store, document, remarks(), strict=strict)
    n_recorded = len(with_result(used))
    if document.judged is not None:
        n_recorded += document.judged.n_with_result
    n_runs, folder = len(document.run_ids), store.ablation(ablation)
    n_not_needed = len(runs_not_needed(document, with_result(used)))
    verdicts = read_verdicts(folder)
    if as_json:
        seen = {"name": ablation, "n_runs": n_runs, "n_recorded": n_recorded}
        seen["n_not_needed"] = n_not_needed
        seen["answer"] = views.read_answer(folder)
        print_json({**seen, "folder": str(folder), "verdicts": verdicts})
    else:
        counts = f"{n_recorded} of {n_runs} runs recorded{views.not_needed_text(n_not_needed)}"
        views.print_report(Console(), verdicts, counts, folder)


@handled
def status(
    name: Annotated[
        str | None,
        typer.Argument(
            metavar="[NAME]", help="One ablation, search or judgement; without it, all of them."
        ),
    ] = None,
    results: ResultsOption = Path("results"),
    as_json: JsonOption = False,
) -> None:
    """Count the runs of each ablation and judgement and the candidates of each search."""
    from orchestrator.cli import run_view as views
    from orchestrator.store.paths import Results

    store = Results(results)
    ablation, search, judged = (None, None, None) if name is None else _named(name, store)
    rows = []
    if name is None or ablation is not None:
        rows += views.status_rows(store, ablation, remarks())
    if name is None or search is not None:
        rows += views.search_rows(store, search, remarks())
    if name is None or judged is not None:
        rows += views.judged_rows(store, judged, remarks())
    wanted = name is None or ablation is not None
    claims = views.claim_rows(store, ablation) if wanted else []
    if as_json:
        shown = []
        for row in rows:
            is_of = row["kind"] == "ablation"
            of_row = [one for one in claims if is_of and one["ablation"] == row["name"]]
            shown.append({**row, **({"claims": of_row} if of_row else {})})
        print_json(shown)
    else:
        views.print_status(Console(), rows)
        views.print_claims(Console(), claims)


def _named(text: str, results: "Results") -> tuple[str | None, str | None, str | None]:
    """The ablation, search and judgement that a name or a YAML file stands for; at least one.

    Raises:
        ConfigError: the file has mistakes, or nothing of this name was run.
    """
    from decoder.complaints import did_you_mean
    from decoder.errors import ConfigError
    from orchestrator.query.judge.claims_file import is_claims_file, load_claims
    from orchestrator.spec.names import listed

    name, is_search, is_ablation, is_judged = text, True, True, True
    if is_file_name(text) and Path(text).is_file() and is_claims_file(Path(text)):
        name, is_search, is_ablation = load_claims(Path(text)).name, False, False
    elif is_file_name(text):
        from orchestrator.search.kept import named_search
        from orchestrator.spec.keys import name_with_extensions
        from orchestrator.spec.load import load_spec

        # Files of the user's parts are run by commands that train or plan, and not here.
        if (unchecked := name_with_extensions(Path(text))) is not None:
            name = unchecked
        else:
            search = named_search(text, results.of_searches)
            name = search.spec.name if search else load_spec(Path(text)).spec.name
            is_search, is_ablation = search is not None, search is None
        is_judged = False
    plans = results.ablations.glob("*/plan.json") if is_ablation else ()
    ablations = {plan.parent.name for plan in plans}
    searches = set(results.searches() if is_search else ())
    judged = set(results.judgements() if is_judged else ())
    if name not in ablations | searches | judged:
        kinds = {"ablation": is_ablation, "search": is_search, "judgement": is_judged}
        what = " or ".join(kind for kind, may_be in kinds.items() if may_be)
        known = sorted(ablations | searches | judged)
        raise ConfigError(
            f"{text}: no {what} '{name}' was run in {results.root}{did_you_mean(name, known)} "
            f"(there are: {listed(known)}); run it first, or give another --results folder"
        )
    kinds_of = (ablations, searches, judged)
    ablation, searched, judgement = (name if name in names else None for names in kinds_of)
    return ablation, searched, judgement
