"""`orchestrator.history.reading.log_lines`: lines of both official trainers and of forks."""

import math

import pytest

from orchestrator.history.reading.columns import column_names, is_percent
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
    ],
)
def test_the_figures_of_a_line_are_read(line: str, row: dict[str, float]) -> None:
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
def test_lines_that_tell_no_evaluation_are_passed_over(line: str) -> None:
    assert read_line(line, LogState(last_step=("step", 5.0))) is None


def test_nan_is_a_value_and_not_a_missing_one() -> None:
    row = read_line("step 10 val_loss: nan val_per: 1.0", LogState())
    assert row is not None and math.isnan(row["val_loss"])


def test_a_per_on_a_line_of_its_own_is_at_the_step_last_mentioned() -> None:
    state = LogState()
    assert read_line("Epoch 7: train_loss 1.0", state) == {"epoch": 7, "train_loss": 1.0}
    assert read_line("   val PER: 0.4", state) == {"epoch": 7, "per": 0.4}
    assert state.n_carried == 1


def test_what_a_log_says_of_its_end_is_kept() -> None:
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
    assert state.stated_best == 0.10123
    assert state.finished
    assert "out of memory" in state.error


@pytest.mark.parametrize(
    ("names", "columns"),
    [
        (("batch", "cer"), {"batch": "step", "cer": "per"}),
        (("global_step", "val/PER", "val/loss"), None),
        (("Step", "Val PER", "test_per"), {"Step": "step", "Val PER": "per"}),
        (("step", "a/per", "b/per"), {"step": "step"}),
        (("step", "train_per"), {"step": "step", "train_per": "train_per"}),
        (("step", "best_per", "wer"), {"step": "step"}),
    ],
)
def test_columns_are_known_by_their_names(
    names: tuple[str, ...], columns: dict[str, str] | None
) -> None:
    expected = columns or dict(zip(names, ("step", "per", "val_loss"), strict=True))
    assert column_names(names) == expected


def test_a_plain_loss_is_that_of_validation_only_beside_a_per() -> None:
    assert column_names(("step", "loss", "per"))["loss"] == "val_loss"
    assert column_names(("step", "loss"))["loss"] == "train_loss"
    assert column_names(("step", "loss", "val_loss", "per"))["loss"] == "train_loss"


@pytest.mark.parametrize(
    ("values", "percent"),
    [
        ([100.0, 45.2, 10.1], True),
        ([9.8, 9.1, 8.7], True),
        ([1.0, 0.9, 0.2], False),
        ([4.1, 1.2, 1.0], False),  # a decoder that emits four times too much at first
        ([1.0, 1.0], False),
        ([math.nan], False),
    ],
)
def test_percent_is_told_from_rates(values: list[float], percent: bool) -> None:
    assert is_percent(values)[0] is percent


def test_a_file_that_may_mix_both_units_is_said_to() -> None:
    assert "may mix" in is_percent([0.31, 45.0])[1]
