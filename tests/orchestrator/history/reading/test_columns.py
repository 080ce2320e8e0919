"""`orchestrator.history.reading.columns`: columns by their names, and percent against rates."""

import pytest

from orchestrator.history.reading.columns import column_names, percent_reason


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
def test_columns_are_recognised_by_their_names(
    names: tuple[str, ...], columns: dict[str, str] | None
) -> None:
    expected = columns or dict(zip(names, ("step", "per", "val_loss"), strict=True))
    assert column_names(names) == expected


def test_a_plain_loss_is_of_validation_only_if_there_is_a_per() -> None:
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
        ([17.2, 0.94, 0.71, 0.43, 0.30], False),  # nearly every bin emits at first
        ([17.2, 1.05], False),
        ([2.9, 2.8, 2.85], False),
        ([9.0, 6.0, 4.5], True),
        ([131.0, 62.0], True),
        ([20.5], True),
        ([2.9], False),
        ([], False),
    ],
)
def test_percent_is_distinguished_from_rates(values: list[float], percent: bool) -> None:
    assert bool(percent_reason(values)) is percent


def test_a_file_that_may_mix_both_units_is_reported() -> None:
    why = percent_reason([0.31, 45.0])
    assert "0.31" in why and "45" in why and "mix" in why


def test_the_rows_of_a_table_are_judged_in_any_order() -> None:
    assert percent_reason([26.5, 131.0, 4.0, 31.0], in_order=False)
    assert not percent_reason([0.3, 0.28, 17.0], in_order=False)
