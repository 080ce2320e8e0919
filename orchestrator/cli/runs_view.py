"""What `runs` prints: a listing, one run with its training curves, and files to remove."""

import json
import math
from collections.abc import Mapping, Sequence

from pydantic import JsonValue
from rich.console import Console
from rich.text import Text

from decoder.collapse import CollapseThresholds
from decoder.harmless import harmless
from decoder.pack import HELD_OUT_WORD_COLUMNS, WORD_COLUMNS, further_columns
from orchestrator.history.reading.record import ImportedRun
from orchestrator.query.pruning import Removable
from orchestrator.query.runs import Listing, RunDetails
from orchestrator.tables.run_row import RunRow
from orchestrator.terminal import print_table, say_to, time_text

_BARS = "▁▂▃▄▅▆▇█"
_CURVES = (
    ("per", "PER"),
    ("val_loss", "validation loss"),
    ("train_loss", "training loss"),
    ("blank_fraction", "blank fraction"),
    ("emitted_ratio", "emitted / target"),
    ("grad_norm", "gradient norm"),
    ("lr", "learning rate"),
)
_WIDTH = 48  # characters of a curve


def sparkline(values: Sequence[float], width: int = _WIDTH) -> str:
    """Values as bars that span their range; ``×`` stands for a value that is not finite.

    Args:
        values: in order; if there are more than `width`, each bar is the mean of neighbours.
        width: characters at most.
    """
    size = max(1, -(-len(values) // width))
    groups = [values[start : start + size] for start in range(0, len(values), size)]
    means = [sum(group) / len(group) for group in groups]
    finite = [mean for mean in means if math.isfinite(mean)]
    low, high = min(finite, default=0.0), max(finite, default=0.0)
    top = len(_BARS) - 1

    def bar(mean: float) -> str:
        if not math.isfinite(mean):
            return "×"
        return _BARS[round((mean - low) / (high - low) * top) if high > low else 0]

    return "".join(bar(mean) for mean in means)


def print_listing(console: Console, listing: Listing, most_rows: int) -> None:
    """Print at most `most_rows` runs, one per row, and how many there are."""
    say = say_to(console)
    if not listing.n_runs:
        say("no run is recorded in this folder yet")
        return
    rows = [
        tuple(value_cell(row[name]) for name in listing.columns) if number < most_rows else ()
        for number, row in enumerate(listing.rows)
    ]
    numeric = [
        all(isinstance(row[name], int | float | None) for row in listing.rows)
        for name in listing.columns
    ]
    more = "--limit, --json and --export show them"
    print_table(console, listing.columns, rows, numeric=numeric, most_rows=most_rows, more=more)
    counts = f"{listing.n_matching:,} of {listing.n_runs:,} runs"
    if len(listing.rows) < listing.n_matching:
        counts += f"; the first {len(listing.rows)} are shown"
    say(counts)


def value_cell(value: JsonValue) -> str:
    """A value as the tables show it."""
    if value is None:
        return "–"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return f"{value:.5g}"
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def print_details(console: Console, details: RunDetails) -> None:
    """Print outcome, training curves, uses, settings that are not the default, and origin."""
    say = say_to(console)
    run = details.run
    say(f"run {run.run_id}, seed {run.seed}: {_outcome_text(run)}")
    if ending := details.record.get("ending"):
        say(f"ended by the rule {ending}")
    _print_curves(console, details.history)
    for use in details.uses:
        changes = ", ".join(f"{path} = {json.dumps(v)}" for path, v in use.changes.items())
        say(f"{use.ablation}, arm {use.arm}: {changes or 'no changes'} (on top of its base)")
    if not details.uses:
        say("no ablation uses this run")
    console.print()
    rows = [
        (path, json.dumps(default), json.dumps(value))
        for path, (default, value) in details.from_default.items()
    ]
    if run.trainer:
        say("Settings:")
        print_table(console, ("setting", "value"), [(path, value) for path, _, value in rows])
    else:
        say("Settings that are not the official defaults:" if rows else "All are defaults.")
        print_table(console, ("field", "default", "this run"), rows)
    _print_origin(console, run, details.record["pack"]["n_runs"])
    if details.record.get("error"):
        say("\ntraceback:")
        say(str(details.record["error"]).rstrip())
    if details.log is not None:
        say(f"\nlog of its worker: {details.log}")
    for log, lines in details.printed.items():
        say(f"\nthe end of {log}:" if lines else f"\n{log} is empty")
        for line in lines:
            say(f"  {harmless(line)}")


def print_imported_run(console: Console, run: ImportedRun) -> None:
    """Print an imported run: outcome, training curves, settings, and what its files are."""
    say = say_to(console)
    per = "" if run.compared_per is None else f", PER {run.compared_per:.1%}"
    say(f"{run.name}, imported from {run.source}, seed {run.seed}: {run.outcome}{per}")
    for reason in (*run.reasons, *run.notes):
        say(f"  {reason}")
    _print_curves(console, run.history)
    say(f"settings ({run.settings_from or 'none found'}):")
    rows = [(name, json.dumps(value, default=str)) for name, value in run.settings.items()]
    print_table(console, ("setting", "value"), rows)
    files = [(note.path, note.role, note.note) for note in run.files]
    print_table(console, ("file", "read as", "remark"), files)


def print_removable(console: Console, items: Sequence[Removable], removed: bool) -> None:
    """Print one row per file, and their total size."""
    rows = [(size_text(i.n_bytes), i.kind, str(i.path), i.reason) for i in items]
    titles = ("size", "kind", "file", "reason")
    print_table(console, titles, rows, numeric=(True, False, False, False))
    total = f"{len(items)} files, {size_text(sum(item.n_bytes for item in items))}"
    say = say_to(console)
    if not items:
        say("there is nothing to remove")
    elif removed:
        say(f"{total}: removed")
    else:
        say(f"{total} can be removed; nothing was removed yet, add --yes to do it")


def size_text(n_bytes: float) -> str:
    """A size with its unit: ``12.3 MB``."""
    if n_bytes < 1000:
        return f"{n_bytes:.0f} B"
    power = min(int(math.log10(n_bytes) / 3), 4)
    return f"{n_bytes / 1000**power:.1f} {('B', 'kB', 'MB', 'GB', 'TB')[power]}"


def _outcome_text(run: RunRow) -> str:
    text = run.outcome
    if run.outcome == "collapsed":
        t = CollapseThresholds()
        text += (
            f" (the last {t.n_evaluations} evaluations emit at most {t.emitted_ratio:.0%} of the "
            f"target or {t.n_distinct} phonemes)"
        )
    if run.outcome == "diverged":
        text += f" at step {run.text('diverged_step')}"
    per, best = run.number("per"), run.number("best_per")
    if run.outcome == "failed" or per is None:
        return text
    text += f", final PER {per:.1%}"
    return f"{text}, best {best:.1%} at step {run.text('best_per_step')}" if best else text


def _print_curves(console: Console, history: Sequence[Mapping[str, float]]) -> None:
    if not history:
        return
    console.print()
    further = [(name, name) for name in further_columns(history) if not name.startswith("n_")]
    curves = (*_CURVES[:1], *further, *_CURVES[1:])
    width = max(len(title) for _, title in curves) + 2
    for name, title in curves:
        values = [row[name] for row in history if name in row]
        if name in (*WORD_COLUMNS, *HELD_OUT_WORD_COLUMNS):  # not known at every evaluation
            values = [value for value in values if not math.isnan(value)]
        present = [value for value in values if math.isfinite(value)]
        if all(map(math.isnan, values)):
            continue
        span = f"{values[0]:.4g} → {values[-1]:.4g}"
        if present:
            span += f"  (lowest {min(present):.4g}, highest {max(present):.4g})"
        console.print(Text(f"  {title:<{width}}{sparkline(values)}  {span}"), soft_wrap=True)
    steps = f"step {history[0]['step']:,.0f} to {history[-1]['step']:,.0f}"
    say_to(console)(f"  {steps}, {len(history)} evaluations")
    console.print()


def _print_origin(console: Console, run: RunRow, n_runs_in_pack: int) -> None:
    say = say_to(console)
    commit = "no commit"
    if run.git_commit:
        commit = run.git_commit[:10] + (" with changes" if run.git_dirty else "")
    host, finished = run.text("host_hostname") or "–", run.text("timing_finished_at")
    if run.trainer:
        say(f"code: {commit}, trainer {run.trainer}")
    else:
        say(
            f"code: {commit}, decoder sources {str(run.decoder_sha256)[:10]}, numerics version "
            f"{run.numerics_version}"
        )
    say(f"data: {run.dataset_path}, fingerprint {run.dataset}")
    if run.trainer:
        say(f"trained on {host}, {finished}")
    else:
        say(
            f"trained on {host} ({run.text('host_device') or '–'}), Python "
            f"{run.text('host_python')}, torch {run.text('host_torch')}, {finished}"
        )
    took = time_text(run.number("timing_run_seconds") or 0)
    if run.number("n_steps") is not None:  # a trainer of the user's need not say its steps
        took = f"{run.text('n_steps_done')} steps, {took}"
    pack = f"(its share of pack {run.text('host_pack_id')}, which has {n_runs_in_pack} runs)"
    say(f"{took} {pack}" if n_runs_in_pack > 1 else took)
