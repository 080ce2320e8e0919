"""Words of ensembles: decoders whose log posteriors are averaged, from their kept logits."""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from decoder.data.store import Dataset
from decoder.ensembles import frames_align
from decoder.logits import KeptLogits
from decoder.words.evaluate import WordTrial
from decoder.words.halves import Place


def averaged_trials(
    members: Sequence[KeptLogits], sentences: Mapping[Place, str | None]
) -> list[WordTrial]:
    """The trials of an ensemble for `decoder.words.evaluate.evaluate_words`.

    Their log-posteriors are the mean of the members', made to sum to one again; that is the
    geometric mean of the posteriors. One member gives its own.

    Args:
        members: at least one; their frames must align, see `decoder.ensembles.frames_align`.
        sentences: from `sentences_of`. A trial that it lacks gets None, and counts nowhere.
    """
    assert members and frames_align(members)
    trials = []
    for same in zip(*(one.trials for one in members), strict=True):
        first = same[0]
        mean = sum(log_softmax(one.logits) for one in same) / len(same)
        place = Place(first.session, first.block, first.number)
        trials.append(WordTrial(log_softmax(np.asarray(mean)), sentences.get(place), *place))
    return trials


def sentences_of(dataset: Dataset) -> dict[Place, str | None]:
    """The sentence of each validation trial, as recorded; empty in a store of earlier versions.

    Trials of the same place with other sentences cannot be told apart, and have None.
    """
    found: dict[Place, str | None] = {}
    for place, text in zip(places_of(dataset), dataset.val.sentences or (), strict=False):
        found[place] = text if found.get(place, text) == text else None
    return found


def places_of(dataset: Dataset) -> list[Place]:
    """Where each validation trial was recorded."""
    val = dataset.val
    return [
        Place(dataset.sessions[day], int(block), int(number))
        for day, block, number in zip(val.day, val.block, val.trial_number, strict=True)
    ]


def log_softmax(logits: NDArray[np.floating]) -> NDArray[np.float32]:
    """(P, C) log-posteriors of logits, computed in float32."""
    shifted = logits.astype(np.float32)
    shifted = shifted - shifted.max(-1, keepdims=True, initial=-np.inf)
    total = np.exp(shifted).sum(-1, keepdims=True)
    return np.asarray(shifted - np.log(total), np.float32)
