"""The generator of recordings: layout, determinism, and statistics."""

from pathlib import Path

import h5py
import numpy as np
import pytest
from pydantic import ValidationError

from decoder.data import t15
from decoder.data.alignment import n_patches, n_patches_needed
from decoder.data.layouts import find_layout, session_names
from decoder.data.lexicon import word_classes
from decoder.data.recordings import Problems
from decoder.data.synthetic import (
    RECIPES,
    SyntheticRecipe,
    in_layout,
    make_synthetic,
    recipe_digest,
)
from decoder.data.writers import write_session
from decoder.errors import StorageError
from decoder.phonemes import SEPARATOR_ID


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def all_features(folder: Path, split: str = "train") -> np.ndarray:
    parts = []
    for path in sorted(folder.rglob(f"data_{split}.hdf5")):
        with h5py.File(path) as handle:
            parts += [group["input_features"][()] for group in handle.values()]
    return np.concatenate(parts)


def variant(**changes: object) -> SyntheticRecipe:
    return SyntheticRecipe.model_validate(RECIPES["tiny"].model_dump() | changes)


def test_files_follow_the_t15_layout_exactly(tiny_folder: Path) -> None:
    names = ["generated.json", "t15.2000.01.01", "t15.2000.01.08"]
    assert sorted(p.name for p in tiny_folder.iterdir()) == names
    with h5py.File(tiny_folder / "t15.2000.01.08" / "data_train.hdf5") as handle:
        assert list(handle) == [f"trial_{i:04d}" for i in range(12)]
        group = handle["trial_0003"]
        assert set(group) == {"input_features", "seq_class_ids", "transcription"}
        assert group["input_features"].dtype == np.float32
        assert group["seq_class_ids"].dtype == group["transcription"].dtype == np.int32
        assert group["seq_class_ids"].shape == group["transcription"].shape == (500,)
        assert set(group.attrs) == {
            "n_time_steps",
            "seq_len",
            "block_num",
            "trial_num",
            "session",
            "sentence_label",
        }
        codes = group["transcription"][()]
        text = "".join(chr(code) for code in codes[: np.flatnonzero(codes == 0)[0]])
        assert text == group.attrs["sentence_label"]
        assert group.attrs["session"] == "t15.2000.01.08"
    with h5py.File(tiny_folder / "t15.2000.01.08" / "data_test.hdf5") as handle:
        assert all(set(group) == {"input_features"} for group in handle.values())
        assert all("seq_len" not in group.attrs for group in handle.values())


def test_labels_spell_the_sentence_with_a_separator_after_each_word(tiny_folder: Path) -> None:
    sounds: dict[str, set[tuple[int, ...]]] = {}
    for words in word_classes().values():
        for word, phonemes in words:
            sounds.setdefault(word, set()).add(phonemes)
    with h5py.File(tiny_folder / "t15.2000.01.01" / "data_train.hdf5") as handle:
        for group in handle.values():
            labels = group["seq_class_ids"][: group.attrs["seq_len"]]
            assert labels[-1] == SEPARATOR_ID
            spoken = np.split(labels, np.flatnonzero(labels == SEPARATOR_ID) + 1)[:-1]
            words = group.attrs["sentence_label"].split()
            assert len(words) == len(spoken)
            for word, phonemes in zip(words, spoken, strict=True):
                assert tuple(phonemes[:-1]) in sounds[word]


def test_same_recipe_gives_the_same_bytes_and_another_seed_gives_others(
    tiny_folder: Path, tmp_path: Path
) -> None:
    make_synthetic(RECIPES["tiny"], tmp_path / "again")
    assert contents(tmp_path / "again") == contents(tiny_folder)
    make_synthetic(variant(seed=13), tmp_path / "other")
    assert all(
        content != contents(tiny_folder)[name]
        for name, content in contents(tmp_path / "other").items()
    )


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("seed", 13),
        ("n_sessions", 1),
        ("n_train", 11),
        ("n_val", 3),
        ("n_test", 1),
        ("n_trials_per_block", 5),
        ("n_features", 8),
        ("min_words", 1),
        ("max_words", 4),
        ("phoneme_bins", 5.0),
        ("rate_std", 0.5),
        ("n_silent_bins", 3),
        ("coarticulation_bins", 3.0),
        ("tuning_gain", 0.5),
        ("firing_rate_hz", 60.0),
        ("power_shape", 1.0),
        ("day_drift", 0.1),
        ("shared_noise_std", 0.8),
        ("shared_noise_rank", 1),
        ("shared_noise_memory", 0.1),
    ],
)
def test_every_field_of_a_recipe_has_an_effect(
    field: str, value: object, tiny_folder: Path, tmp_path: Path
) -> None:
    changed = variant(**{field: value})
    assert recipe_digest(changed) != recipe_digest(RECIPES["tiny"])
    make_synthetic(changed, tmp_path / "changed")
    assert contents(tmp_path / "changed") != contents(tiny_folder)


def test_the_test_above_covers_every_field() -> None:
    marks = test_every_field_of_a_recipe_has_an_effect.pytestmark  # type: ignore[attr-defined]
    fields = {field for field, _ in marks[0].args[1]}
    assert fields | {"layout"} == set(SyntheticRecipe.model_fields)


def test_layout_has_an_effect_and_its_default_keeps_old_digests(
    tiny_folder: Path, tiny_t12_folder: Path
) -> None:
    """The digests are those of the first recipes, before there was a choice of layout."""
    assert recipe_digest(RECIPES["tiny"]) == "9850fd0a"
    assert recipe_digest(RECIPES["small"]) == "d2131a29"
    wide = variant(n_features=256)
    assert recipe_digest(in_layout(wide, "t12")) != recipe_digest(wide)
    assert set(contents(tiny_t12_folder)) & set(contents(tiny_folder)) == {"generated.json"}


def test_recipe_in_the_t12_layout_has_its_number_of_features() -> None:
    moved = in_layout(RECIPES["tiny"], "t12")
    assert (moved.n_features, moved.n_silent_bins) == (256, RECIPES["tiny"].n_silent_bins + 9)
    assert in_layout(RECIPES["t12_tiny"], "t12") == RECIPES["t12_tiny"]
    with pytest.raises(ValidationError, match="n_features must be 256 in the T12 layout, but got"):
        variant(layout="t12")


def test_features_are_z_scored_by_block_and_clipped_from_above(tmp_path: Path) -> None:
    recipe = variant(n_val=0, n_test=0, n_train=18, power_shape=0.05, firing_rate_hz=100.0)
    make_synthetic(recipe, tmp_path / "data")
    features = all_features(tmp_path / "data")
    assert features.max() == t15.FEATURE_CLIP
    assert features.min() > -t15.FEATURE_CLIP
    counts = features[:, :8]  # too few spikes at once to be clipped
    with h5py.File(tmp_path / "data" / "t15.2000.01.01" / "data_train.hdf5") as handle:
        groups = list(handle.values())
        assert [g.attrs["block_num"] for g in groups] == [1] * 9 + [2] * 9
        assert [g.attrs["trial_num"] for g in groups] == [*range(9), *range(9)]
        for block in (groups[:9], groups[9:]):
            own = np.concatenate([group["input_features"][:, :8] for group in block])
            np.testing.assert_allclose(own.mean(axis=0), 0.0, atol=1e-4)
            np.testing.assert_allclose(own.std(axis=0), 1.0, atol=1e-4)
    assert counts.max() < t15.FEATURE_CLIP


def test_threshold_crossings_are_counts_and_power_is_not(tiny_folder: Path) -> None:
    with h5py.File(tiny_folder / "t15.2000.01.01" / "data_train.hdf5") as handle:
        first_block = [g for g in handle.values() if g.attrs["block_num"] == 1]
        features = np.concatenate([group["input_features"] for group in first_block])
    n_distinct = [len(np.unique(column)) for column in features.T]
    assert max(n_distinct[:8]) <= 40
    assert min(n_distinct[8:]) > 0.9 * len(features)


def test_articulation_affects_the_features_only_through_the_gain(tmp_path: Path) -> None:
    """With gain 0 the mean response to a phoneme is flat; with the default it is not."""

    def response_spread(gain: float) -> float:
        recipe = variant(tuning_gain=gain, shared_noise_std=0.0, n_train=60, n_sessions=1)
        make_synthetic(recipe, tmp_path / str(gain))
        features = all_features(tmp_path / str(gain))
        pairs = features[1:-2:2] * features[2:-1:2]  # neighbouring bins share the articulation
        return float(pairs.mean())

    assert abs(response_spread(0.0)) < 0.02
    assert response_spread(1.6) > 0.1


def test_tuning_drifts_from_day_to_day_by_the_configured_weight(tmp_path: Path) -> None:
    """Channels keep their correlations between days only as far as the tuning is kept."""

    def similarity(drift: float) -> float:
        recipe = variant(
            day_drift=drift, n_train=80, tuning_gain=3.0, shared_noise_std=0.0, n_features=32
        )
        make_synthetic(recipe, tmp_path / f"drift{drift}")
        days = [all_features(path) for path in sorted((tmp_path / f"drift{drift}").glob("t15.*"))]
        upper = np.triu_indices(32, 1)
        one, other = (np.corrcoef(day.T)[upper] for day in days)
        return float(np.corrcoef(one, other)[0, 1])

    assert similarity(0.0) > 0.9
    assert similarity(0.95) < 0.6


@pytest.mark.parametrize("name", sorted(RECIPES))
def test_shipped_recipes_pass_the_reader_and_ctc_can_align_every_trial(
    name: str, tmp_path: Path
) -> None:
    folder = tmp_path / name
    fewer = {"n_train": 20, "n_val": 4, "n_test": 4} if RECIPES[name].n_sessions > 4 else {}
    recipe = RECIPES[name].model_copy(update={"n_sessions": 1, **fewer})  # the first of its days
    make_synthetic(recipe, folder)
    layout, problems = find_layout(folder), Problems()
    assert layout.name.lower() == recipe.layout
    index = layout.reader.read_index(folder, session_names(folder, layout), problems)
    problems.raise_if_any()
    assert [len(file.trials) for file in (*index.train, *index.val)] == [
        recipe.n_train,
        recipe.n_val,
    ]
    # The official T12 decoder uses one patch fewer than there are.
    n_unseen = 1 if layout.name == "T12" else 0
    for file in (*index.train, *index.val):
        for trial in file.trials:
            n_bins = trial.n_bins - max(layout.random_cut - 1, 0)
            n_there = n_patches(n_bins, layout.patch_size, layout.patch_stride) - n_unseen
            assert n_there >= n_patches_needed(trial.labels)


def test_folder_that_is_not_empty_is_not_changed(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(StorageError, match="exists already"):
        make_synthetic(RECIPES["tiny"], tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["notes.txt"]


def test_folder_appears_only_when_it_is_complete(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def write_then_die(folder: Path, session: str, splits: object) -> None:
        write_session(folder, session, splits)  # type: ignore[arg-type]
        raise KeyboardInterrupt

    monkeypatch.setattr("decoder.data.synthetic.write_session", write_then_die)
    with pytest.raises(KeyboardInterrupt):
        make_synthetic(RECIPES["tiny"], tmp_path / "data")
    assert list(tmp_path.iterdir()) == []
