"""Two keys for one field: equal values pass, different ones are refused by name."""

from typing import Any

import pytest

from decoder.importing import Imported, import_mapping

T12: dict[str, Any] = {"nUnits": 64, "nLayers": 3, "lrStart": 0.03, "lrEnd": 0.03, "dropout": 0.2}
T15: dict[str, Any] = {"model": {"n_layers": 3}, "lr_max": 0.004, "beta0": 0.9, "beta1": 0.99}


def note_of(imported: Imported, key: str) -> tuple[str, str]:
    [entry] = [entry for entry in imported.entries if entry.key == key]
    return entry.outcome, entry.note


@pytest.mark.parametrize(
    ("file", "changes", "key", "exact"),
    [
        (T12, {"rnn_dropout": 0.5}, "rnn_dropout", "dropout"),
        (T12, {"lr": 0.001}, "lr", "lrStart"),
        (T15, {"n_layers": 5}, "n_layers", "model.n_layers"),
        (T15, {"learning_rate": 0.001}, "learning_rate", "lr_max"),
        (T15, {"betas": [0.9, 0.999]}, "betas", "beta1"),
    ],
)
@pytest.mark.parametrize("order", [1, -1])
def test_another_value_for_a_key_of_the_trainer_is_refused_by_both_names(
    file: dict[str, Any], changes: dict[str, Any], key: str, exact: str, order: int
) -> None:
    first, second = [file, changes][::order]
    imported = import_mapping({**first, **second}, "file")
    outcome, note = note_of(imported, key)
    assert outcome == "unsupported" and exact in note
    assert note_of(imported, exact)[0] == "mapped"


def test_the_same_value_twice_is_no_conflict() -> None:
    imported = import_mapping({**T12, "rnn_dropout": 0.2, "num_layers": 3.0}, "file")
    assert not imported.with_outcome("unsupported")
    assert imported.config.model.n_layers == 3


def test_either_of_two_keys_can_be_given_up() -> None:
    file = {**T12, "rnn_dropout": 0.5}
    ours = import_mapping(file, "file", without=["rnn_dropout"])
    assert ours.config.model.rnn_dropout == 0.2
    theirs = import_mapping(file, "file", without=["dropout"])
    assert theirs.config.model.rnn_dropout == 0.5
    assert note_of(theirs, "dropout")[0] == "left out"


def test_a_block_that_says_what_it_is_replaces_the_flat_keys_of_the_trainer() -> None:
    block = {"optimizer": {"type": "adamw", "params": {"lr": 0.006}}}
    imported = import_mapping({**T12, **block}, "file")
    assert imported.config.optim.lr_max == 0.006
    assert note_of(imported, "lrStart") == ("no effect", "optimizer.params.lr replaces it")
    plain = import_mapping({**T12, "optimizer": {"lr": 0.006}}, "file")
    assert note_of(plain, "optimizer.lr")[0] == "unsupported"


def test_two_spellings_that_differ_are_refused_whatever_their_order() -> None:
    for first, second in (("hidden_size", "hidden_dim"), ("hidden_dim", "hidden_size")):
        imported = import_mapping({"nLayers": 2, first: 8, second: 9}, "file")
        [entry] = imported.with_outcome("unsupported")
        assert first in entry.note and entry.key == second


def test_a_switch_that_is_off_wins_over_a_strength_but_not_over_another_switch() -> None:
    off = {"use_white_noise": False, "whiteNoiseSD": 0.7}
    imported = import_mapping({**T12, **off}, "file")
    assert not imported.with_outcome("unsupported")
    assert imported.config.augment.white_noise_std == 0.0
    smooth = {"dataset": {"data_transforms": {"smooth_data": True}}, "use_smoothing": False}
    imported = import_mapping({**T15, **smooth}, "file")
    assert note_of(imported, "use_smoothing")[0] == "unsupported"
    assert imported.config.augment.smooth
