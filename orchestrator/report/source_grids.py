"""Grids of what an ablation's runs were made from: recordings, machines and software."""

import json
from pathlib import Path

import pandas as pd

from orchestrator.plan.document import PlanDocument, RecordingsEntry
from orchestrator.report.grids import Grid, listed, make_grid, steps_text, texts

_NONE = "–"  # in place of an empty list


def data_grid(plan: PlanDocument, runs: pd.DataFrame) -> Grid:
    """Recordings, step budget, sizes, seeds."""
    rows = []
    for dataset in plan.all_recordings:
        rows += [
            ("recordings", dataset.name),
            ("fingerprint", dataset.fingerprint),
            *(() if plan.judged else (_data_row(dataset),)),
            *(("remark on the recordings", remark) for remark in dataset.remarks),
        ]
    every = runs["eval_every_steps"].dropna().unique()
    dropped = runs["n_dropped_trials"].dropna()
    spec_file = Path(plan.spec_file)
    budget = steps_text(runs)
    often = f", validation every {listed(every)} steps" if plan.spec.trainer is None else ""
    rows += [("budget", f"{budget}{often}" if budget else _NONE)]
    if plan.spec.trainer is None:
        rows += [
            ("parameters", listed(runs["n_parameters"].dropna().unique())),
            ("training trials left out (no possible alignment)", listed(dropped.unique())),
        ]
    if plan.judged:
        rows = [row for row in rows if row[1] != _NONE]
    rows += [
        ("seeds", listed(str(seed) for seed in plan.spec.seeds)),
        (
            "claims file" if plan.judged else "ablation file",
            spec_file.name if spec_file.is_absolute() else str(spec_file),
        ),
    ]
    return make_grid(texts("", ""), rows)


def _data_row(dataset: RecordingsEntry) -> tuple[str, str]:
    if dataset.stated:
        return "identified by", dataset.stated
    text = (
        f"{dataset.n_train_trials:,} for training, {dataset.n_val_trials:,} for validation, "
        f"{len(dataset.sessions)} sessions"
    )
    return "trials", text


def machine_grid(plan: PlanDocument, runs: pd.DataFrame) -> Grid:
    """The machines and software that trained the runs, and how long it took.

    Which Python, PyTorch and device a trainer of the user's used is not known, and the code is that
    of the program that called it.
    """
    done = runs.drop_duplicates("run_id")
    seconds = done["timing_run_seconds"].dropna()
    memory = done["host_peak_memory_bytes"].dropna()
    rows = [
        (title, listed([value for value in done[column].unique() if value]))
        for title, column in (
            ("Python", "host_python"),
            ("PyTorch", "host_torch"),
            ("device", "host_device"),
            ("driver", "host_driver"),
            ("kernel", "host_kernel"),
            ("host", "host_hostname"),
        )
    ]
    optional: tuple[str, ...] = ("driver", "kernel")
    if plan.spec.trainer is not None or plan.judged:
        optional += ("Python", "PyTorch", "device", "host")
    rows = [row for row in rows if row[1] != _NONE or row[0] not in optional]
    title = "code" if plan.spec.trainer is None else "code of this program"
    rows.append((title, listed({_code_text(value): None for value in done["host_code"] if value})))
    if len(seconds):
        rows.append(("training", f"{seconds.sum():,.0f} s, {seconds.mean():.1f} s per run"))
    if len(memory):
        rows.append(("peak memory", f"{memory.max() / 2**20:,.0f} MiB per process"))
    return make_grid(texts("", ""), rows)


def _code_text(code: str) -> str:
    """The commit, and whether files were changed since; outside git the hash of the sources."""
    try:
        facts = json.loads(code)
    except ValueError:
        return code
    if not isinstance(facts, dict) or not facts.get("git_commit"):
        digest = facts.get("decoder_sha256") if isinstance(facts, dict) else None
        return f"decoder sources {str(digest)[:12]}" if digest else code
    return f"commit {facts['git_commit'][:12]}{', changed' if facts.get('git_dirty') else ''}"
