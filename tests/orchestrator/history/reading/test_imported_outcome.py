"""`orchestrator.history.reading.imported_outcome`: how a run ended, with the reason."""

from pathlib import Path

import pytest
from imported_runs import jsonl, mentions, only_run, per_rows, write_files


@pytest.mark.parametrize(
    ("text", "settings", "outcome", "reason"),
    [
        (per_rows(1, 0.5, 0.4), "max_steps: 200", "ok", None),
        (per_rows(1, 0.5, 0.4), "max_steps: 1000", "unfinished", "200 of 1,000 (20 %)"),
        (per_rows(1, 1, 1, 0.9999), "max_steps: 300", "collapsed", "95 % to 102 %"),
        (per_rows(1, 1, 1, 0.9999), "max_steps: 9000", "unfinished", "300 of 9,000"),
        (per_rows(1, 0.4, 0.3, 0.97, 1.0), "max_steps: 400", "diverged", "100.0 %"),
        (
            per_rows(1, 0.5) + '{"step": 200, "per": 1, "loss": NaN}\n',
            "max_steps: 200",
            "diverged",
            "step 200",
        ),
        (
            per_rows(1) + '{"step": 100, "per": 1, "grad_norm": Infinity}\n'
            '{"step": 200, "per": 0.4, "grad_norm": 2}\n',
            "max_steps: 200",
            "ok",
            None,
        ),
        (per_rows(3.1, 2.2, 1.5), "max_steps: 200", "ok", None),
    ],
)
def test_the_outcome_has_its_reason(
    tmp_path: Path, text: str, settings: str, outcome: str, reason: str | None
) -> None:
    run = only_run(write_files(tmp_path / "run", {"config.yaml": settings, "metrics.jsonl": text}))
    assert run.outcome == outcome
    assert reason is None or mentions(run.reasons, reason)


def test_blank_fractions_show_a_collapse_that_the_per_does_not(tmp_path: Path) -> None:
    text = jsonl(*({"step": i, "per": 0.94, "blank_fraction": 0.999} for i in range(4)))
    run = only_run(write_files(tmp_path / "run", {"metrics.jsonl": text}))
    assert run.outcome == "collapsed" and mentions(run.reasons, "99 %", "blank")


def test_a_run_that_stopped_early_is_complete(tmp_path: Path) -> None:
    log = (
        "2025-01-01 10:00:00,1: Val batch 0: PER (avg): 1.0000 CTC Loss (avg): 9.0 time: 1.0\n"
        "2025-01-01 10:00:00,1: Val batch 2000: PER (avg): 0.2000 CTC Loss (avg): 9.0 time: 1.0\n"
        "2025-01-01 10:00:00,1: Overall validation PER has not improved in 20 validation steps. "
        "Stopping training early at batch: 2000\n"
    )
    files = {"training_log": log, "args.yaml": "num_training_batches: 120000\n"}
    run = only_run(write_files(tmp_path / "run", files))
    assert run.outcome == "ok" and mentions(run.reasons, "2,000")


def test_an_error_at_the_end_of_a_log_is_a_reason(tmp_path: Path) -> None:
    log = "step 1 per 0.9\nTraceback (most recent call last):\nRuntimeError: CUDA out of memory\n"
    files = {"train.log": log, "config.yaml": "max_steps: 100\n"}
    run = only_run(write_files(tmp_path / "run", files))
    assert run.outcome == "unfinished"
    assert mentions(run.reasons, "CUDA out of memory")
