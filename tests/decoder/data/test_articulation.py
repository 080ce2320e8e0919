"""Articulatory targets, durations and coarticulated movement."""

import numpy as np
import pytest

from decoder.data.articulation import (
    DIMENSIONS,
    N_ARTICULATORS,
    draw_durations,
    durations,
    targets,
    trajectory,
)
from decoder.phonemes import BLANK, CLASSES, SEPARATOR_ID


def test_every_two_classes_differ_in_their_targets() -> None:
    flat = targets().reshape(len(CLASSES), -1)
    distance = np.linalg.norm(flat[:, None] - flat[None], axis=-1) + 9.0 * np.eye(len(CLASSES))
    i, j = np.unravel_index(distance.argmin(), distance.shape)
    assert distance.min() > 0.3, (CLASSES[i], CLASSES[j])


def test_targets_agree_with_textbooks() -> None:
    first = dict(zip(CLASSES, targets()[:, 0], strict=True))
    voicing, lips = DIMENSIONS.index("voicing"), DIMENSIONS.index("lip_closure")
    assert first["B"][voicing] > 0 > first["P"][voicing]
    assert first["P"][lips] > first["T"][lips]
    velum = DIMENSIONS.index("velum_opening")
    assert [name for name in CLASSES if first[name][velum] > 0] == ["M", "N", "NG"]
    assert not first["BLANK"].any()


def test_only_diphthongs_change_their_target() -> None:
    moving = np.flatnonzero((targets()[:, 0] != targets()[:, 1]).any(axis=1))
    assert [CLASSES[i] for i in moving] == ["AW", "AY", "EY", "OW", "OY"]


def test_durations_vary_around_their_medians() -> None:
    labels = np.full(4000, CLASSES.index("IY"))
    drawn = draw_durations(labels, 10.0, 0.0, np.random.default_rng(0))
    median, spread = durations()[labels[0]]
    assert np.median(drawn) == pytest.approx(10.0 * median, abs=1.0)
    assert np.log(drawn).std() == pytest.approx(spread, rel=0.05)
    assert draw_durations(labels, 0.1, 0.0, np.random.default_rng(0)).min() == 2


def test_trajectory_reaches_a_long_target_and_rests_at_both_ends() -> None:
    labels = np.array([CLASSES.index("M")])
    movement = trajectory(labels, np.array([21]), n_silent_bins=10, smooth_std_bins=1.5)
    assert movement.shape == (41, 2 * N_ARTICULATORS)
    np.testing.assert_allclose(movement[20, :N_ARTICULATORS], targets()[labels[0], 0], atol=1e-5)
    np.testing.assert_allclose(movement[20, N_ARTICULATORS:], 0.0, atol=1e-5)
    np.testing.assert_allclose(movement[0], 0.0, atol=1e-6)


def test_a_neighbouring_phoneme_influences_a_phoneme() -> None:
    m, iy, aa = (CLASSES.index(name) for name in ("M", "IY", "AA"))
    spans = np.array([6, 6])
    before_iy = trajectory(np.array([m, iy]), spans, 4, 1.5)
    before_aa = trajectory(np.array([m, aa]), spans, 4, 1.5)
    difference = np.abs(before_iy - before_aa).max(axis=1)
    assert difference[9] > 0.1 > 0.01 > difference[4]  # last and first bin of the M


def test_smoothing_preserves_the_mean_of_the_movement() -> None:
    labels = np.array([3, 12, SEPARATOR_ID])
    spans = np.array([5, 7, 4])
    sharp = trajectory(labels, spans, 8, 0.1)[:, :N_ARTICULATORS]
    smooth = trajectory(labels, spans, 8, 2.0)[:, :N_ARTICULATORS]
    np.testing.assert_allclose(smooth.mean(axis=0), sharp.mean(axis=0), atol=1e-12)
    assert np.abs(np.diff(smooth, axis=0)).max() < np.abs(np.diff(sharp, axis=0)).max()
    assert not targets()[BLANK].any()
