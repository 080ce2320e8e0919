"""Plateau, escape and collapse on hand-made histories."""

from decoder.collapse import CollapseThresholds, escape_step, is_collapsed, on_plateau

T = CollapseThresholds()


def history(*emitted: float) -> list[dict[str, float]]:
    return [
        {"step": 10.0 * (i + 1), "emitted_ratio": ratio, "n_distinct": 20.0}
        for i, ratio in enumerate(emitted)
    ]


def test_little_output_or_few_phonemes_is_the_plateau() -> None:
    assert on_plateau({"emitted_ratio": 0.05, "n_distinct": 9}, T)
    assert on_plateau({"emitted_ratio": 0.9, "n_distinct": 2}, T)
    assert not on_plateau({"emitted_ratio": 0.06, "n_distinct": 3}, T)


def test_escape_is_after_the_last_plateau_not_the_first() -> None:
    assert escape_step(history(0.5, 0.0, 0.3, 0.01, 0.4, 0.8), T) == 50


def test_a_run_that_stays_on_the_plateau_never_escapes() -> None:
    assert escape_step(history(0.5, 0.0, 0.0), T) is None
    assert escape_step([], T) is None


def test_a_run_that_is_never_on_the_plateau_escapes_at_its_first_evaluation() -> None:
    assert escape_step(history(0.5, 0.6), T) == 10


def test_collapse_needs_the_last_three_evaluations() -> None:
    assert is_collapsed(history(0.9, 0.0, 0.01, 0.05), T)
    assert not is_collapsed(history(0.0, 0.0, 0.0, 0.06), T)
    assert not is_collapsed(history(0.0, 0.0), T)


def test_thresholds_are_configurable() -> None:
    strict = CollapseThresholds(emitted_ratio=0.5, n_distinct=2, n_evaluations=2)
    assert is_collapsed(history(0.9, 0.4, 0.4), strict)
    assert not is_collapsed(history(0.9, 0.4, 0.4), T)
