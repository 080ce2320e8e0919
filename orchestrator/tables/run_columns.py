"""What one record and its history say about a run, as the columns of every table of runs."""

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

from decoder.collapse import CollapseThresholds, escape_step, is_collapsed
from decoder.selection import best_row, selection_optimism
from orchestrator.stats.run_values import COUNTED, DIVERGED_PER

Record = Mapping[str, Any]
HistoryRows = Sequence[Mapping[str, float]]

# Of a run's last evaluation; "per" and "step" have columns of their own.
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
) -> dict[str, Any]:
    """What a run's record and history say; see `tables.runs_table` for the columns.

    Args:
        record: of the run; None for one that is not recorded yet.
        history: its evaluations.
        thresholds: when it counts as collapsed.
    """
    status = "missing" if record is None else str(record["status"])
    collapsed = status == "ok" and is_collapsed(history, thresholds)
    outcome = "collapsed" if collapsed else status
    counted = outcome in COUNTED
    last = history[-1] if counted and history else {}
    chosen = best_row(history) if counted else None
    best = history[chosen] if chosen is not None else {}
    optimism = selection_optimism(history) if counted else None
    escaped = escape_step(history, thresholds) if outcome in ("ok", "collapsed") else None
    final_per = DIVERGED_PER if outcome == "diverged" else last.get("per", math.nan)
    train = record["config"]["train"] if record else {}
    record = record or {}
    return {
        "outcome": outcome,
        "per": final_per,
        "collapsed": int(outcome != "ok") if counted else None,
        "diverged": int(outcome == "diverged") if counted else None,
        "escape_step": math.nan if escaped is None else float(escaped),
        "escape_censored": escaped is None if counted else None,
        "n_steps": train.get("n_steps"),
        "n_steps_done": record.get("n_steps_done"),
        "eval_every_steps": train.get("eval_every_steps"),
        "diverged_step": record.get("diverged_step"),
        **{name: float(last.get(name, math.nan)) for name in FINAL_COLUMNS},
        "grad_norm_p99": float((record.get("grad_norm_quantiles") or {}).get("p99", math.nan)),
        "best_per": float(best.get("per", math.nan)),
        "best_per_step": best.get("step"),
        "selection_optimism": math.nan if optimism is None else optimism,
        "per_beam": _beam_per(record, outcome),
        "n_skipped_steps": record.get("n_skipped_steps"),
        "n_parameters": record.get("n_parameters"),
        "n_dropped_trials": record.get("n_dropped_trials"),
        "error": last_line(record.get("error")),
        **_machine_columns(record),
    }


def _beam_per(record: Record, outcome: str) -> float:
    """Final PER with beam search; NaN where none was asked for or the run has no result."""
    asked = record.get("config", {}).get("evaluation", {}).get("use_beam_search", False)
    if outcome == "diverged" and asked:
        return DIVERGED_PER
    recorded = (record.get("beam") or {}).get("per", math.nan)
    return float(recorded) if outcome in COUNTED else math.nan


def _machine_columns(record: Record) -> dict[str, Any]:
    timing, host, pack = record.get("timing", {}), record.get("host", {}), record.get("pack", {})
    environment = record.get("environment", {})
    return {
        "timing_pack_seconds": float(timing.get("pack_seconds", math.nan)),
        "timing_run_seconds": float(timing.get("run_seconds", math.nan)),
        "timing_finished_at": _text(timing.get("finished_at", "")),
        "host_hostname": _text(host.get("hostname", "")),
        "host_pid": host.get("pid"),
        "host_device": _text(host.get("device", "")),
        "host_python": _text(environment.get("python", "")),
        "host_torch": _text(environment.get("torch", "")),
        "host_code": _text(environment.get("code", "")),
        # A resumed ablation packs what was left, so the pack says something about the schedule.
        "host_pack_id": _text(pack.get("pack_id", "")),
        "host_pack_n_runs": pack.get("n_runs"),
        "host_peak_memory_bytes": record.get("peak_memory_bytes"),
    }


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, sort_keys=True)


def leader_of(path: str) -> str | None:
    """The field that `decoder.config.resolve` fills this one from where it was left open."""
    if path == "optim.lr_decay_steps":
        return "train.n_steps"
    return path.removesuffix("_day") if path.endswith("_day") else None


def last_line(traceback: str | None) -> str:
    """The line of a traceback that names the exception."""
    lines = (traceback or "").strip().splitlines()
    return lines[-1].strip() if lines else ""
