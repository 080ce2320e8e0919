"""The summary of a folder of recordings."""

import dataclasses
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from decoder.data.check import check
from decoder.data.pronunciation import cmu_dictionary
from decoder.data.synthetic import RECIPES
from decoder.data.writers import SentenceToWrite, write_session, write_t12_session
from decoder.errors import DataError

FIRST, SECOND = "t15.2023.08.11", "t15.2023.08.13"


def test_counts_are_those_of_the_files(folder: Path) -> None:
    summary = check(folder)
    assert summary.layout == "T15"
    assert (summary.n_features, summary.n_classes, summary.bin_ms) == (4, 41, 20)
    first, second = summary.sessions
    assert (first.session, second.session) == (FIRST, SECOND)
    assert (first.n_train, first.n_val, first.n_test) == (3, 2, 1)
    assert (first.n_bins_min, first.n_bins_median, first.n_bins_max) == (30, 32.0, 35)
    assert first.n_labels == 3 * 3 + 2 * 2
    # Two phonemes and a separator in each train trial, two phonemes in each val trial.
    assert first.phonemes_per_second == pytest.approx(10 / (0.02 * (30 + 31 + 32 + 35 + 35)))


def test_total_adds_sums_and_divides_once(folder: Path) -> None:
    features = []
    for session in (FIRST, SECOND):
        for split in ("train", "val"):
            with h5py.File(folder / session / f"data_{split}.hdf5") as handle:
                features += [group["input_features"][()].ravel() for group in handle.values()]
    everything = np.concatenate(features).astype(np.float64)
    total = check(folder).total
    assert total.session == "all"
    assert (total.n_train, total.n_val, total.n_test) == (6, 4, 2)
    assert total.feature_mean == pytest.approx(everything.mean())
    assert total.feature_std == pytest.approx(everything.std())
    assert total.n_bins_median == 35.0


def test_numbers_that_coincide_with_other_features_are_counted_and_equal_features_refused(
    folder: Path, trial: Callable[..., Any]
) -> None:
    assert check(folder).total.n_shared_numbers == 0
    other = dataclasses.replace(trial(number=2, n_bins=42), block=1)
    other = dataclasses.replace(other, features=other.features + 0.5)
    write_session(folder, SECOND, {"val": [trial(number=9), other]})
    summary = check(folder)
    assert [one.n_shared_numbers for one in summary.sessions] == [0, 1]
    assert summary.total.n_shared_numbers == 1 and summary.fit
    write_session(folder, SECOND, {"val": [trial(number=9), trial(number=2, n_bins=42)]})
    with pytest.raises(DataError, match="is in both splits"):
        check(folder)


def test_a_split_without_any_target_is_not_fit_for_training(
    folder: Path, trial: Callable[..., Any]
) -> None:
    for session in (FIRST, SECOND):
        write_session(folder, session, {"val": [trial(number=9, labels=())]})
    summary = check(folder)
    assert not summary.fit and summary.total.n_unalignable == 0


def test_clipped_empty_and_unalignable_trials_are_counted(
    folder: Path, trial: Callable[..., object]
) -> None:
    clipped = trial(number=0, n_bins=20)
    clipped.features[0, :3] = [10.0, 12.0, 9.9]  # type: ignore[attr-defined]
    trials = [
        clipped,
        trial(number=1, n_bins=20, labels=()),
        trial(number=2, n_bins=14, labels=(1, 1)),
        trial(number=3, n_bins=13, labels=(1,)),
        trial(number=4, n_bins=13, labels=()),
    ]
    write_session(folder, SECOND, {"train": trials, "val": []})
    _, second = check(folder).sessions
    assert second.clipped_share == pytest.approx(2 / (4 * 80))
    assert second.n_empty_targets == 2
    # Two patches for three labels; one patch for a doubled label; no patch at all.
    assert second.n_unalignable == 3


def say(
    folder: Path, session: str, split: str, trial: str, label: str | None, spelled: str
) -> None:
    """Change the sentence of a trial, and the same in character codes."""
    with h5py.File(folder / session / f"data_{split}.hdf5", "r+") as handle:
        group = handle[trial]
        del group.attrs["sentence_label"]
        if label is not None:
            group.attrs["sentence_label"] = label
        group["transcription"][:] = 0
        group["transcription"][: len(spelled)] = [ord(one) for one in spelled]


def test_words_without_a_pronunciation_are_counted_over_words_and_over_uses(folder: Path) -> None:
    before = check(folder)
    assert (before.total.n_words, before.words.n_different, before.words.n_lacking) == (10, 1, 0)
    say(folder, FIRST, "train", "trial_0000", "A xqzv, the vqxq's 2 vqxq-xqzv!", "")
    say(folder, FIRST, "val", "trial_0001", "xqzv the XQZV", "")
    say(folder, SECOND, "val", "trial_0000", "The twenty-one", "")
    summary = check(folder)
    assert [one.n_words for one in summary.sessions] == [2 + 5 + 1 + 3, 3 + 2 + 1]
    words = summary.words
    # bah, a, the, twenty-one; xqzv three times, the others once
    assert words.n_different == 4 + 3
    assert (words.n_lacking, words.n_lacking_spoken, words.n_lacking_val) == (3, 5, 2)
    assert words.lacking[0] == "xqzv" and set(words.lacking[1:]) == {"vqxq's", "vqxq-xqzv"}
    assert words.has_cmudict and summary.fit

    (folder / "pronunciations.txt").write_text("xqzv  Z IY\nvqxq  V IY\n")
    assert check(folder).words == dataclasses.replace(
        words, n_lacking=0, n_lacking_spoken=0, n_lacking_val=0, lacking=()
    )


def test_a_pronunciation_that_cannot_be_read_is_named(folder: Path) -> None:
    (folder / "pronunciations.txt").write_text("xqzv  Z EE\n")
    with pytest.raises(DataError, match=r"pronunciations\.txt: line 1"):
        check(folder)


def test_without_cmudict_the_words_of_generated_recordings_are_known(
    tiny_folder: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "cmudict", None)
    cmu_dictionary.cache_clear()
    try:
        generated, own = check(tiny_folder).words, check(folder).words
    finally:
        cmu_dictionary.cache_clear()
    assert (generated.n_lacking, generated.has_cmudict) == (0, False)
    assert generated.n_different > 10
    assert (own.n_lacking, own.n_lacking_spoken, own.lacking) == (1, 10, ("bah",))


def test_transcriptions_with_other_words_and_trials_without_a_sentence_are_counted(
    folder: Path,
) -> None:
    total = check(folder).total
    assert (total.n_other_transcriptions, total.n_without_sentence) == (0, 0)
    say(folder, FIRST, "train", "trial_0000", "Don't, go!", "don't go")  # the same words
    say(folder, FIRST, "train", "trial_0001", "Don't go", "do go")
    say(folder, SECOND, "val", "trial_0000", "go", "go on")
    say(folder, SECOND, "val", "trial_0001", None, "")
    summary = check(folder)
    assert [one.n_other_transcriptions for one in summary.sessions] == [1, 1]
    assert [one.n_without_sentence for one in summary.sessions] == [0, 1]
    assert summary.fit


@pytest.mark.parametrize("layout", ["T15", "T12"])
def test_generated_recordings_have_sentences_whose_words_are_all_known(
    layout: str, tiny_folder: Path, tiny_t12_folder: Path
) -> None:
    summary = check({"T15": tiny_folder, "T12": tiny_t12_folder}[layout])
    total = summary.total
    assert (total.n_without_sentence, total.n_other_transcriptions) == (0, 0)
    recipe = RECIPES[{"T15": "tiny", "T12": "t12_tiny"}[layout]]
    assert recipe.min_words * 32 <= total.n_words <= recipe.max_words * 32
    assert summary.words.n_lacking == 0


def test_summary_can_be_written_as_json(folder: Path) -> None:
    nested = dataclasses.asdict(check(folder))
    assert json.loads(json.dumps(nested))["total"]["n_train"] == 6


def test_t12_recordings_are_summarised_with_their_own_patches(tiny_t12_folder: Path) -> None:
    summary = check(tiny_t12_folder)
    assert (summary.layout, summary.n_features, summary.n_classes) == ("T12", 256, 41)
    assert (summary.patch_size, summary.patch_stride, summary.fit) == (32, 4, True)
    total = summary.total
    assert (total.n_train, total.n_val, total.n_test) == (24, 8, 4)
    assert (total.n_unalignable, total.clipped_share) == (0, 0.0)
    assert total.feature_mean == pytest.approx(0.0, abs=1e-6)
    assert total.feature_std == pytest.approx(1.0, abs=1e-4)


def test_t12_targets_are_counted_against_32_bins_every_4(tmp_path: Path) -> None:
    """These bins are enough for three labels in the T15 layout, but not in the T12 layout."""
    rng = np.random.default_rng(0)
    sentences = [
        SentenceToWrite(rng.poisson(1.0, (n_bins, 256)), rng.gamma(2.0, 9.0, (n_bins, 256)), "A", 1)
        for n_bins in (31, 32, 36, 40)  # no patch, one, two, three for AH and the separator
    ]
    write_t12_session(tmp_path, "t12.2022.04.28", {"train": sentences, "val": sentences[:0]})
    other = SentenceToWrite(rng.poisson(1.0, (40, 256)), rng.gamma(2.0, 9.0, (40, 256)), "A", 2)
    write_t12_session(tmp_path, "t12.2022.04.28", {"val": [other]})
    summary = check(tmp_path)
    assert summary.total.n_unalignable == 2
    assert not summary.fit


def test_all_problems_of_headers_features_and_test_are_raised_together(folder: Path) -> None:
    with h5py.File(folder / FIRST / "data_train.hdf5", "r+") as handle:
        handle["trial_0000"].attrs["n_time_steps"] = 3
        handle["trial_0002"]["input_features"][4, 1] = np.inf
    (folder / SECOND / "data_test.hdf5").write_bytes(b"cut")
    with pytest.raises(DataError) as caught:
        check(folder)
    assert len(caught.value.problems) == 3
    assert caught.value.exit_code == 3


def test_only_batches_and_the_alignment_check_load_torch() -> None:
    code = (
        "import sys\n"
        "import decoder.data.check, decoder.data.prepare, decoder.data.store\n"
        "import decoder.data.synthetic, decoder.data.t12, decoder.data.t15\n"
        "print(sorted({'torch', 'ray', 'pandas', 'matplotlib'} & set(sys.modules)))"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[]"
