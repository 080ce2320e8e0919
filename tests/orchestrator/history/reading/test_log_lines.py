"""`orchestrator.history.reading.log_lines`: lines of both official trainers and of forks."""

import math

import pytest

from orchestrator.history.reading.log_lines import LogState, read_line


@pytest.mark.parametrize(
    ("line", "row"),
    [
        (
            "2025-03-01 12:00:00,123: Val batch 2000: PER (avg): 0.2345 CTC Loss (avg): 22.1234 "
            "time: 12.345",
            {"step": 2000, "per": 0.2345, "val_loss": 22.1234},
        ),
        (
            "2025-03-01 12:00:00,123: Train batch 200: loss: 45.10 grad norm: 12.30 time: 0.105",
            {"step": 200, "train_loss": 45.10, "grad_norm": 12.30},
        ),
        (
            "batch 100, ctc loss: 2.345678, cer: 0.987654, time/batch:   0.105",
            {"step": 100, "val_loss": 2.345678, "per": 0.987654},
        ),
        (
            "Epoch 3/100 - train_loss: 1.2 - val_PER: 34.2%",
            {"epoch": 3, "train_loss": 1.2, "per": 34.2},
        ),
        (
            "Schritt 2000: Verlust = 1,23 PER = 0,231",
            {"step": 2000, "val_loss": 1.23, "per": 0.231},
        ),
        ("🏆 step 2,000 | ✅ Val PER: 23.4 % | lr 3e-4", {"step": 2000, "per": 23.4, "lr": 3e-4}),
        ("\x1b[32mstep=400\x1b[0m val/per=0.31", {"step": 400, "per": 0.31}),
        (
            "Val batch 12,000/20,000: PER (avg): 0.31 CTC Loss (avg): 9.5",
            {"step": 12_000, "per": 0.31, "val_loss": 9.5},
        ),
        ("batch 1,500, ctc loss: 2.5, cer: 0.4", {"step": 1500, "val_loss": 2.5, "per": 0.4}),
        ("Epoch [3/20] val_PER: 0.342 best_PER: 0.25", {"epoch": 3, "per": 0.342}),
        ("{'epoch': 3, 'PER': 0.342, 'WER': 0.51}", {"epoch": 3, "per": 0.342}),
        (
            'Val batch 500: {"PER": 0.62, "CTC Loss": 55.0}',
            {"step": 500, "per": 0.62, "val_loss": 55.0},
        ),
    ],
)
def test_the_values_of_a_line_are_read(line: str, row: dict[str, float]) -> None:
    assert read_line(line, LogState()) == row


@pytest.mark.parametrize(
    "line",
    [
        "best PER so far: 0.21 at step 300",
        "target PER 0.25 by step 10000",
        "t15.2023.08.13 val PER: 0.1234",
        "Model has 44,315,177 parameters",
        "loading 45 sessions",
        "",
    ],
)
def test_lines_without_an_evaluation_are_ignored(line: str) -> None:
    assert read_line(line, LogState(last_step=("step", 5.0))) is None


def test_nan_is_a_value_and_not_a_missing_one() -> None:
    row = read_line("step 10 val_loss: nan val_per: 1.0", LogState())
    assert row is not None and math.isnan(row["val_loss"])


def test_a_per_without_a_step_takes_the_step_mentioned_last() -> None:
    state = LogState()
    assert read_line("Epoch 7: train_loss 1.0", state) == {"epoch": 7, "train_loss": 1.0}
    assert read_line("   val PER: 0.4", state) == {"epoch": 7, "per": 0.4}
    assert state.n_carried == 1


def test_start_end_and_errors_of_a_log_are_kept() -> None:
    state = LogState()
    for line in (
        "2025-03-01 09:00:00,100: Using device: cuda:1",
        "2025-03-01 09:00:00,100: Loaded model from checkpoint: old/best_checkpoint",
        "2025-03-01 13:00:00,100: Best avg val PER achieved: 0.10123",
        "2025-03-01 13:00:00,101: Total training time: 180.00 minutes",
        "RuntimeError: CUDA out of memory",
    ):
        assert read_line(line, state) is None
    assert state.started == "2025-03-01 09:00:00"
    assert state.loaded == "old/best_checkpoint"
    assert state.finished
    assert "out of memory" in state.error


@pytest.mark.parametrize(
    "line",
    [
        "Val batch 500: PER (avg): 0.6200 CTC Loss (avg): 55.0 WER(3gram): 48.10% (n=64) time: 1.5",
        "Val batch 500: PER (avg): 0.6200 CTC Loss (avg): 55.0 WER(1gram): nan% (n=0) time: 1.5",
        "Val batch 500: PER (avg): 0.6200 CTC Loss (avg): 55.0",
        "Val batch 500: val PER: 0.6200 val loss: 55.0 time: 1.5",
        "Val batch 500: CTC Loss (avg): 55.0 | PER (avg): 0.6200, blank frac: 0.7",
        "Val batch 500/2000: PER (5gram): 0.44 PER (avg): 0.6200 CTC Loss (avg): 55.0",
        "batch 500, ctc loss: 55.0, wer: 0.9, cer: 0.6200, time/batch: 0.1",
        "batch 500, ctc loss: 55.0, cer: 0.6200",
    ],
)
def test_another_figure_on_an_official_line_loses_nothing(line: str) -> None:
    state = LogState()
    row = read_line(line, state)
    assert row is not None and (row["step"], row["per"], row["val_loss"]) == (500, 0.62, 55.0)
    assert (state.n_unread, state.percent) == (0, False)
    assert state.trainer in ("t15", "t12")


def test_figures_of_a_training_line_are_of_training() -> None:
    row = read_line("Train batch 9: loss: 2.5 PER: 71.0% grad norm: 3.0 time: 0.1", LogState())
    assert row == {"step": 9, "train_loss": 2.5, "train_per": 71.0, "grad_norm": 3.0}


def test_an_official_evaluation_without_a_readable_per_is_counted() -> None:
    state = LogState()
    assert read_line("Val batch 0: phones wrong = many CTC Loss (avg): 5.0", state) == {
        "step": 0,
        "val_loss": 5.0,
    }
    assert read_line("Val batch 9: skipped", state) is None
    assert state.n_unread == 2 and "phones wrong" in state.unread


def test_a_per_of_one_sentence_or_of_a_step_that_has_one_is_left_out() -> None:
    state = LogState()
    assert read_line("batch 100 | loss: 2.1 | per: 0.33 (ma: 0.41)", state) is not None
    assert read_line("  Sample PER: 0.9000", state) is None
    assert read_line("per: 0.5", state) is None
    assert read_line("Epoch 7: train_loss 1.0", state) is not None
    assert read_line("sentence per: 0.5", state) is None
    assert read_line("per: 0.4", state) == {"epoch": 7, "per": 0.4}
