"""`decoder.ensembles`: averaged log posteriors, against cases worked out by hand."""

import numpy as np
import pytest

from decoder.ensembles import Ensemble, frames_align
from decoder.logits import KeptLogits, LogitTrial
from decoder.phonemes import N_CLASSES


def member(*rows: dict[int, float], labels: tuple[int, ...] = (1, 2)) -> KeptLogits:
    """One trial; each row of (P, C) gives the posteriors of some classes, the others share 0.01."""
    posteriors = np.full((len(rows), N_CLASSES), 0.01 / N_CLASSES)
    for patch, row in enumerate(rows):
        for label, value in row.items():
            posteriors[patch, label] = value
    scores = np.log(posteriors).astype(np.float16)
    return KeptLogits((LogitTrial(scores, np.array(labels, np.int64), "a", 1, 0),), {})


# Reference AA AE (1 2). Alone, A emits 1 3 (one edit) and B emits 1 1 (one edit: the blank between
# keeps both). Geometric means at the last patch: 1: √(.10·.50) = .224; 2: √(.40·.35) = .374;
# 3: √(.45·.10) = .212. So the ensemble emits 1 2: no edit.
A = member({1: 0.9, 0: 0.05}, {0: 0.9}, {1: 0.10, 2: 0.40, 3: 0.45})
B = member({1: 0.9, 0: 0.05}, {0: 0.9}, {1: 0.50, 2: 0.35, 3: 0.10})


def test_an_ensemble_can_be_right_where_each_member_is_wrong() -> None:
    ensemble = Ensemble([A, B])
    assert ensemble.score([0]) == ensemble.score([1]) == (1, 2)
    assert ensemble.score([0, 1]) == (0, 2)
    assert ensemble.score([0]).per == 0.5


def test_the_mean_is_that_of_log_posteriors_and_not_of_posteriors() -> None:
    """Mean posteriors: 1: .475, 2: .45; geometric means: 1: √(.94·.01) = .097, 2: √(.05·.85)."""
    sure = member({1: 0.94, 2: 0.05}, labels=(2,))
    other = member({1: 0.01, 2: 0.85}, labels=(2,))
    assert Ensemble([sure, other]).score([0, 1]) == (0, 1)


def test_a_decoder_averaged_with_itself_keeps_its_errors() -> None:
    ensemble = Ensemble([A, A, A])
    assert ensemble.score([0, 1, 2]) == ensemble.score([1])


def test_trials_are_decoded_apart_and_those_without_labels_do_not_count() -> None:
    """The last patch of the first trial and the first of the second have the same class."""
    end = LogitTrial(A.trials[0].logits[:1], np.array([1]), "a", 1, 0)
    silent = end._replace(labels=np.zeros(0, np.int64), number=1)
    again = LogitTrial(A.trials[0].logits, np.array([1, 2]), "a", 1, 2)
    assert Ensemble([KeptLogits((end, silent, again), {})]).score([0]) == (1, 3)
    none = Ensemble([KeptLogits((silent,), {})]).score([0])
    assert none == (0, 0) and np.isnan(none.per)


@pytest.mark.parametrize("what", ["patches", "labels", "trial", "trials"])
def test_frames_of_other_trials_or_lengths_do_not_align(what: str) -> None:
    [trial] = A.trials
    other = {
        "patches": (trial._replace(logits=trial.logits[:2]),),
        "labels": (trial._replace(labels=np.array([2, 2])),),
        "trial": (trial._replace(number=4),),
        "trials": (trial, trial),
    }[what]
    assert frames_align([A, B]) and not frames_align([A, KeptLogits(other, {})])
