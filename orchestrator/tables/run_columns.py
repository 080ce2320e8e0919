"""The columns that every table of runs has: what a record and its history say about one run."""

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

from decoder.collapse import CollapseThresholds, escape_step, has_plateau, is_collapsed
from decoder.pack import (
    HELD_OUT_COLUMNS,
    HELD_OUT_WORD_COLUMNS,
    WORD_COLUMNS,
    further_columns,
)
from decoder.selection import best_row, selection_optimism
from orchestrator.spec.configuration import is_command
from orchestrator.spec.units import is_error_rate
from orchestrator.stats.run_values import COUNTED, DIVERGED_PER
from orchestrator.store.record import Record

HistoryRows = Sequence[Mapping[str, float]]
ColumnValue = str | int | float | bool | None

# Taken from a run's last evaluation. "per" and "step" are not here: they have their own columns.
FINAL_COLUMNS = (
    "n_edits",
    "n_reference",
    "blank_fraction",
    "emitted_ratio",
    "n_distinct",
    "blank_posterior",
    "entropy_nats",
    "val_loss",
    "train_loss",
    "grad_norm",
    "grad_norm_max",
    "clipped_share",
    "update_norm",
    "epsilon_over_grad_rms",
    "learning_dose",
    "lr",
)


def result_columns(
    record: Record | None, history: HistoryRows, thresholds: CollapseThresholds
) -> dict[str, ColumnValue]:
    """The columns of one run; `orchestrator.tables.tables.runs_table` explains them.

    Args:
        record: the run's record; None if it is not recorded yet.
        history: its evaluations; columns that only some runs have give a column each.
        thresholds: they decide whether the run collapsed.
    """
    status = "missing" if record is None else str(record["status"])
    collapsed = status == "ok" and is_collapsed(history, thresholds)
    outcome = "collapsed" if collapsed else status
    counted = outcome in COUNTED
    judged = counted and has_plateau(history)  # whether its collapse can be
    last = history[-1] if counted and history else {}
    chosen = best_row(history) if counted else None
    best = history[chosen] if chosen is not None else {}
    optimism = selection_optimism(history) if counted else None
    escaped = escape_step(history, thresholds) if judged and outcome != "diverged" else None
    rates = _error_rates(record, history) if outcome == "diverged" else ()
    final = {**last, **dict.fromkeys(rates, DIVERGED_PER)}
    further = dict.fromkeys((*further_columns(history), *(name for name in rates if name != "per")))
    train = record["config"]["train"] if record else {}
    ours = None if record is None or is_command(record["config"]) else record
    n_steps = train.get("n_steps")
    if record is not None and ours is None and record["config"]["trainer"]["steps"] is None:
        n_steps = None  # the record's one step stands for a number that is not known
    quantiles = (record and record.get("grad_norm_quantiles")) or {}
    return {
        "outcome": outcome,
        "per": final.get("per", math.nan),
        "collapsed": int(outcome != "ok") if judged or outcome == "diverged" else None,
        "diverged": int(outcome == "diverged") if counted else None,
        "escape_step": math.nan if escaped is None else float(escaped),
        "escape_censored": escaped is None if judged else None,
        "n_steps": n_steps,
        "n_steps_done": record and record["n_steps_done"],
        "eval_every_steps": train.get("eval_every_steps"),
        "diverged_step": record and record["diverged_step"],
        **{name: float(last.get(name, math.nan)) for name in FINAL_COLUMNS},
        **{name: float(final.get(name, math.nan)) for name in sorted(further)},
        "grad_norm_p99": float(quantiles.get("p99", math.nan)),
        "best_per": float(best.get("per", math.nan)),
        "best_per_step": best.get("step"),
        "selection_optimism": math.nan if optimism is None else optimism,
        "per_beam": _beam_per(record, outcome),
        "n_skipped_steps": ours and ours.get("n_skipped_steps"),
        "n_parameters": ours and ours["n_parameters"],
        "n_dropped_trials": ours and ours["n_dropped_trials"],
        "error": last_line(record["error"]) if record else "",
        **_machine_columns(record),
    }


def _error_rates(record: Record | None, history: HistoryRows) -> list[str]:
    """The error rates that a run reports; a diverged one ends with the worst of each."""
    config = record["config"] if record else {}
    if is_command(config):
        return [name for name in config["trainer"]["metrics"] if is_error_rate(name)]
    held_out = config.get("data", {}).get("held_out_sessions") is not None
    words = config.get("evaluation", {}).get("words", {}).get("decoder", "none") != "none"
    further = {
        *further_columns(history),
        *(HELD_OUT_COLUMNS if held_out else ()),
        *(WORD_COLUMNS if words else ()),
        *(HELD_OUT_WORD_COLUMNS if held_out and words else ()),
    }
    return ["per", *filter(is_error_rate, sorted(further))]


def _beam_per(record: Record | None, outcome: str) -> float:
    """Final PER with beam search; NaN without beam search or without a result."""
    if record is None or outcome not in COUNTED:
        return math.nan
    has_beam = record["config"].get("evaluation", {}).get("use_beam_search", False)
    if outcome == "diverged" and has_beam:
        return DIVERGED_PER
    return float((record.get("beam") or {}).get("per", math.nan))


def _machine_columns(record: Record | None) -> dict[str, ColumnValue]:
    host = record["host"] if record else {}
    environment = record["environment"] if record else {}
    return {
        "timing_pack_seconds": float(record["timing"]["pack_seconds"]) if record else math.nan,
        "timing_run_seconds": float(record["timing"]["run_seconds"]) if record else math.nan,
        "timing_finished_at": record["timing"]["finished_at"] if record else "",
        "host_hostname": _text(host.get("hostname", "")),
        "host_pid": host.get("pid"),
        "host_device": _text(host.get("device", "")),
        "host_python": _text(environment.get("python", "")),
        "host_torch": _text(environment.get("torch", "")),
        "host_precision": _text(environment.get("precision", "")),
        "host_kernel": _text(environment.get("kernel", "")),
        "host_driver": _text(environment.get("driver", "")),
        "host_code": _text(environment.get("code", "")),
        # A resumed ablation packs only the runs that are left, so the pack depends on the schedule.
        "host_pack_id": record["pack"]["pack_id"] if record else "",
        "host_pack_n_runs": record and record["pack"]["n_runs"],
        "host_peak_memory_bytes": record and record["peak_memory_bytes"],
    }


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, sort_keys=True)


def leader_of(path: str) -> str | None:
    """The field whose value `decoder.config.resolve` copies into this one if it is left unset."""
    if path == "optim.lr_decay_steps":
        return "train.n_steps"
    return path.removesuffix("_day") if path.endswith("_day") else None


def last_line(traceback: str | None) -> str:
    """The last line of a traceback, which names the exception; empty without one."""
    lines = (traceback or "").strip().splitlines()
    return lines[-1].strip() if lines else ""
