"""What `runs` prints: a listing, and one run with its learning curves in the terminal."""

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.text import Text

from orchestrator.history.reading.record import ImportedRun, to_json
from orchestrator.query.pruning import Removable
from orchestrator.query.runs import Found, Listing, default_thresholds
from orchestrator.terminal import finite, print_table, say_to, time_text

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
    """Values as a line of bars between their lowest and highest; ``×`` where one is not finite.

    Args:
        values: in order; more than `width` are drawn as the mean of neighbours.
        width: most characters.
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
    """One row a run up to so many, and how many there are."""
    rows = [
        tuple(value_cell(row[name]) for name in listing.columns) if number < most_rows else ()
        for number, row in enumerate(listing.rows)
    ]
    numeric = [
        all(isinstance(row[name], int | float) or row[name] is None for row in listing.rows)
        for name in listing.columns
    ]
    if not listing.n_runs:
        say_to(console)("no run was recorded into this folder yet")
        return
    more = "--limit, --json and --export give them"
    print_table(console, listing.columns, rows, numeric=numeric, most_rows=most_rows, more=more)
    said = f"{listing.n_matching:,} of {listing.n_runs:,} runs"
    if len(listing.rows) < listing.n_matching:
        said += f", the first {len(listing.rows)} shown"
    say_to(console)(said)


def listing_document(listing: Listing) -> list[dict[str, Any]]:
    """The rows as JSON; numbers that are not finite as null."""
    return [finite(row) for row in listing.rows]


def value_cell(value: Any) -> str:
    """A value as the tables show it."""
    if value is None:
        return "–"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return f"{value:.5g}"
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def found_document(found: Found) -> dict[str, Any]:
    """One run as JSON; numbers that are not finite as null."""
    document: dict[str, Any] = {
        "record": dict(found.record),
        "history": [dict(row) for row in found.history],
        "row": found.row,
        "from_default": {path: list(pair) for path, pair in found.from_default.items()},
        "ablations": [
            {"ablation": use.ablation, "arm": use.arm, "changes": dict(use.changes)}
            for use in found.uses
        ],
    }
    whole: dict[str, Any] = finite(document)
    return whole


def print_found(console: Console, found: Found) -> None:
    """How it ended, its curves, what was set, where it was made, who uses it."""
    say = say_to(console)
    row, record = found.row, found.record
    say(f"run {row['run_id']}, seed {row['seed']}: {_ending(row)}")
    _print_curves(console, found.history)
    for use in found.uses:
        what = ", ".join(f"{path} = {json.dumps(v)}" for path, v in use.changes.items())
        say(f"{use.ablation}, arm {use.arm}: {what or 'nothing changed'} (on top of its base)")
    if not found.uses:
        say("no ablation uses it")
    console.print()
    rows = [
        (path, json.dumps(default), json.dumps(value))
        for path, (default, value) in found.from_default.items()
    ]
    say("The official defaults but for:" if rows else "The official defaults throughout.")
    print_table(console, ("field", "default", "here"), rows)
    _print_origin(console, row, record)
    if record.get("error"):
        say("\ntraceback:")
        say(str(record["error"]).rstrip())


def foreign_document(run: ImportedRun) -> dict[str, Any]:
    """One imported run as JSON."""
    document: dict[str, Any] = json.loads(to_json(run))
    return document


def print_foreign(console: Console, run: ImportedRun) -> None:
    """An imported run: how it ended, its curves, its settings, what could not be read."""
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
    print_table(console, ("file", "taken for", "remark"), files)


def _ending(row: Mapping[str, Any]) -> str:
    text = str(row["outcome"])
    if row["outcome"] == "collapsed":
        t = default_thresholds()
        text += (
            f" (the last {t.n_evaluations} evaluations emit at most {t.emitted_ratio:.0%} of the "
            f"target or {t.n_distinct} phonemes)"
        )
    if row["outcome"] == "diverged":
        text += f" at step {row['diverged_step']}"
    if row["outcome"] == "failed":
        return text
    best = f", best {row['best_per']:.1%} at step {row['best_per_step']}" if row["best_per"] else ""
    return f"{text}, final PER {row['per']:.1%}{best}" if row["per"] is not None else text


def _print_curves(console: Console, history: Sequence[Mapping[str, float]]) -> None:
    if not history:
        return
    console.print()
    for name, title in _CURVES:
        values = [row[name] for row in history if name in row]
        finite = [value for value in values if math.isfinite(value)]
        if not values:
            continue
        span = f"{values[0]:.4g} → {values[-1]:.4g}"
        if finite:
            span += f"  (lowest {min(finite):.4g}, highest {max(finite):.4g})"
        console.print(Text(f"  {title:<17}{sparkline(values)}  {span}"), soft_wrap=True)
    steps = f"step {history[0]['step']:,.0f} to {history[-1]['step']:,.0f}"
    say_to(console)(f"  {steps}, {len(history)} evaluations")
    console.print()


def _print_origin(console: Console, row: Mapping[str, Any], record: Mapping[str, Any]) -> None:
    say = say_to(console)
    commit = "no commit"
    if row["git_commit"]:
        commit = str(row["git_commit"])[:10] + (" with changes" if row["git_dirty"] else "")
    say(
        f"code: {commit}, decoder sources {str(row['decoder_sha256'])[:10]}, numerics version "
        f"{row['numerics_version']}"
    )
    say(f"data: {row['dataset_path']}, fingerprint {row['dataset']}")
    say(
        f"made on {row['host_hostname']} ({row.get('host_device') or '–'}), Python "
        f"{row['host_python']}, torch {row['host_torch']}, {row['timing_finished_at']}"
    )
    say(
        f"{row['n_steps_done']} steps, {time_text(row['timing_run_seconds'] or 0)} (its share of "
        f"pack {row['host_pack_id']} of {record['pack']['n_runs']} runs)"
    )


def removable_document(items: Sequence[Removable], removed: bool) -> dict[str, Any]:
    """What may go, or went, as JSON."""
    return {
        "removed": removed,
        "n_bytes": sum(item.n_bytes for item in items),
        "files": [
            {
                "path": str(item.path),
                "kind": item.kind,
                "n_bytes": item.n_bytes,
                "reason": item.reason,
            }
            for item in items
        ],
    }


def print_removable(console: Console, items: Sequence[Removable], removed: bool) -> None:
    """One row a file, and the sum."""
    rows = [(size_text(i.n_bytes), i.kind, str(i.path), i.reason) for i in items]
    titles = ("size", "kind", "file", "why it may go")
    print_table(console, titles, rows, numeric=(True, False, False, False))
    total = f"{len(items)} files, {size_text(sum(item.n_bytes for item in items))}"
    if not items:
        say_to(console)("nothing may go")
    elif removed:
        say_to(console)(f"{total}: removed")
    else:
        say_to(console)(f"{total} would go; nothing was removed, --yes does it")


def size_text(n_bytes: float) -> str:
    """A size as people say it: ``12.3 MB``."""
    if n_bytes < 1000:
        return f"{n_bytes:.0f} B"
    power = min(int(math.log10(n_bytes) / 3), 4)
    return f"{n_bytes / 1000**power:.1f} {('B', 'kB', 'MB', 'GB', 'TB')[power]}"
