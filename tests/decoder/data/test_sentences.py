"""Sentences: the rule that makes words of them, and their way into and out of a store."""

import dataclasses
import hashlib
import re
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
import scipy.io
from hypothesis import given
from hypothesis import strategies as st
from safetensors import numpy as safetensors_numpy

from decoder.data.alignment import usable_trials
from decoder.data.lexicon import pronunciations
from decoder.data.prepare import prepare
from decoder.data.sentences import (
    normalise,
    read_sentences,
    sentence_arrays,
    words_of_sentence,
)
from decoder.data.store import Dataset, Manifest, open_dataset
from decoder.data.writers import SentenceToWrite, TrialToWrite, write_session, write_t12_session
from decoder.errors import DataError, StorageError
from decoder.phonemes import SEPARATOR_ID
from decoder.sections import ModelConfig

FIRST, SECOND = "t15.2023.08.11", "t15.2023.08.13"
PRINTABLE = st.text(st.characters(min_codepoint=32, max_codepoint=126))
ANY = st.text(st.characters(exclude_categories=["Cs"]))


@pytest.fixture
def stores(tmp_path: Path) -> Path:
    return tmp_path / "datasets"


@pytest.fixture
def spoken(folder: Path, trial: Callable[..., TrialToWrite]) -> Path:
    """The recordings of `folder`, with a sentence of its own in every trial."""
    for day, session in enumerate((FIRST, SECOND)):
        train = [
            trial(number=i, n_bins=30 + 10 * day + i, labels=() if i == 1 else (7,))
            for i in range(3)
        ]
        val = [trial(number=i + 3, labels=(2, 2), n_bins=35) for i in range(2)]
        splits = {
            split: [
                dataclasses.replace(one, sentence=f"Day {session[-2:]}: {split}, café {one.number}")
                for one in trials
            ]
            for split, trials in {"train": train, "val": val}.items()
        }
        write_session(folder, session, splits)
    return folder


def said(session: str, split: str, *numbers: int) -> tuple[str, ...]:
    return tuple(f"Day {session[-2:]}: {split}, café {number}" for number in numbers)


def official(sentence: str) -> str:
    """`remove_punctuation` of the official T15 evaluation, as it stands there."""
    sentence = re.sub(r"[^a-zA-Z\- \']", "", sentence)
    sentence = sentence.replace("- ", " ").lower()
    sentence = sentence.replace("--", "").lower()
    sentence = sentence.replace(" '", "'").lower()

    sentence = sentence.strip()
    return " ".join([word for word in sentence.split() if word != ""])


@given(PRINTABLE | st.text("ab -'.1", max_size=12))
def test_printable_ascii_is_normalised_as_in_the_official_evaluation(sentence: str) -> None:
    assert normalise(sentence) == official(sentence)


@given(ANY)
def test_normalised_text_has_small_letters_hyphens_apostrophes_and_single_spaces(
    sentence: str,
) -> None:
    words = words_of_sentence(sentence)
    assert " ".join(words) == normalise(sentence)
    assert all(re.fullmatch(r"[a-z'-]+", word) for word in words)


@pytest.mark.parametrize(
    ("sentence", "words"),
    [
        ("", []),
        ("...", []),
        ("  I'm HOME,  now! ", ["i'm", "home", "now"]),
        ("Twenty-one of 30 people", ["twenty-one", "of", "people"]),
        ("well- you know--it's", ["well", "you", "knowit's"]),
        ("so -- yes", ["so", "-", "yes"]),
        ("get 'em", ["get'em"]),
        ("the dogs' food", ["the", "dogs'", "food"]),
        ("don’t say “naïve”", ["don't", "say", "naive"]),
        ("one\ttwo\nthree\u00a0four", ["one", "two", "three", "four"]),
    ],
)
def test_words_of_a_sentence(sentence: str, words: list[str]) -> None:
    assert words_of_sentence(sentence) == words


@given(st.lists(st.none() | ANY))
def test_sentences_come_back_from_arrays_as_they_were(sentences: list[str | None]) -> None:
    arrays = safetensors_numpy.load(safetensors_numpy.save(sentence_arrays("val", sentences)))
    assert read_sentences("val", arrays) == tuple(sentences)
    assert read_sentences("train", arrays) is None


def test_sentences_travel_with_their_trials(spoken: Path, stores: Path) -> None:
    dataset = prepare(str(spoken), None, None, stores)
    assert dataset.train.sentences == said(FIRST, "train", 0, 1, 2) + said(SECOND, "train", 0, 1, 2)
    assert dataset.val.sentences == said(FIRST, "val", 3, 4) + said(SECOND, "val", 3, 4)


def test_a_subset_of_sessions_has_its_own_sentences_in_its_order(
    spoken: Path, stores: Path
) -> None:
    turned = prepare(str(spoken), (SECOND, FIRST), (1, 0), stores)
    assert turned.val.sentences == said(SECOND, "val", 3, 4) + said(FIRST, "val", 3, 4)
    alone = prepare(str(spoken), (SECOND,), None, stores)
    assert alone.train.sentences == said(SECOND, "train", 0, 1, 2)


def test_trials_that_are_left_out_leave_the_sentences_of_the_others(
    spoken: Path, stores: Path
) -> None:
    """Trial 1 of each session has a sentence but no target."""
    dataset = prepare(str(spoken), None, None, stores)
    kept, left_out = usable_trials(dataset.train, ModelConfig(), random_cut=0)
    sentences = dataset.train.sentences
    assert sentences is not None and left_out.empty == (1, 4)
    assert tuple(sentences[i] for i in kept) == (
        *said(FIRST, "train", 0, 2),
        *said(SECOND, "train", 0, 2),
    )


def test_altered_sentences_are_damage_and_packed_again(spoken: Path, stores: Path) -> None:
    dataset = prepare(str(spoken), None, None, stores)
    path = dataset.path / "arrays.safetensors"
    content = path.read_bytes()
    assert content.count("café 4".encode()) == 2
    path.write_bytes(content.replace("café 4".encode(), "café 5".encode()))
    with pytest.raises(StorageError, match=r"arrays\.safetensors does not match its checksum"):
        open_dataset(dataset.path)
    again = prepare(str(spoken), None, None, stores)
    assert again.val.sentences == dataset.val.sentences
    assert path.read_bytes() == content


def without_sentences(dataset: Dataset) -> None:
    """Make a store look as the versions before sentences packed it."""
    path = dataset.path / "arrays.safetensors"
    arrays = {
        name: values
        for name, values in safetensors_numpy.load(path.read_bytes()).items()
        if not name.startswith("sentences.")
    }
    content = safetensors_numpy.save(arrays)
    path.write_bytes(content)
    place = dataset.path / "manifest.json"
    manifest = Manifest.model_validate_json(place.read_text())
    manifest = manifest.model_copy(
        update={
            "arrays_sha256": hashlib.sha256(content).hexdigest(),
            "file_bytes": {**manifest.file_bytes, path.name: len(content)},
        }
    )
    manifest = manifest.model_copy(update={"manifest_sha256": manifest.digest()})
    place.write_text(manifest.model_dump_json(indent=1))


def test_a_store_of_an_earlier_version_is_read_without_sentences_until_they_are_needed(
    spoken: Path, stores: Path
) -> None:
    new = prepare(str(spoken), None, None, stores)
    manifest = (new.path / "manifest.json").read_text()
    without_sentences(new)
    lines: list[str] = []
    old = prepare(str(spoken), None, None, stores, lines.append)
    assert (old.train.sentences, old.val.sentences, lines) == (None, None, [])
    assert old.fingerprint == new.fingerprint
    np.testing.assert_array_equal(old.train.labels, new.train.labels)

    again = prepare(str(spoken), None, None, stores, lines.append, needs_sentences=True)
    assert [("without sentences" in line, "packing" in line) for line in lines] == [
        (True, True),
        (False, True),
    ]
    assert again.fingerprint == new.fingerprint
    assert again.train.sentences == new.train.sentences
    assert (again.path / "manifest.json").read_text() == manifest
    assert old.files is not None
    old.files.check(every_byte=True)  # whoever uses the old files goes on
    lines.clear()
    prepare(str(spoken), None, None, stores, lines.append, needs_sentences=True)
    assert lines == []


def test_versions_that_know_no_sentences_find_the_arrays_that_they_read(
    spoken: Path, stores: Path
) -> None:
    """They take every array whose name starts with that of the split, and no other."""
    path = prepare(str(spoken), None, None, stores).path / "arrays.safetensors"
    names = set(safetensors_numpy.load(path.read_bytes()))
    own = {"offsets", "labels", "label_offsets", "day", "block", "trial_number"}
    for split in ("train", "val"):
        assert {name for name in names if name.startswith(f"{split}.")} == {
            f"{split}.{name}" for name in own
        }


@pytest.mark.parametrize(
    ("label", "codes", "sentence"),
    [
        ("Hi there. ", "hi there", "Hi there."),
        (None, "hi there", "hi there"),
        ("", "hi there", "hi there"),
        ("Hi", "", "Hi"),
        (None, "", None),
        (b"Hi \xff", "hi", "Hi \ufffd"),
    ],
)
def test_the_sentence_of_a_t15_trial_is_its_label_else_its_transcription(
    label: str | bytes | None, codes: str, sentence: str | None, folder: Path, stores: Path
) -> None:
    with h5py.File(folder / SECOND / "data_val.hdf5", "r+") as handle:
        group = handle["trial_0001"]
        group["transcription"][:] = 0
        group["transcription"][: len(codes)] = [ord(one) for one in codes]
        del group.attrs["sentence_label"]
        if label is not None:
            group.attrs["sentence_label"] = np.bytes_(label) if type(label) is bytes else label
    assert prepare(str(folder), None, None, stores).val.sentences == (*["bah"] * 3, sentence)


def test_a_t15_trial_of_silence_has_an_empty_sentence(
    folder: Path, stores: Path, trial: Callable[..., TrialToWrite]
) -> None:
    silent = dataclasses.replace(trial(labels=(), number=8), sentence="")
    write_session(folder, SECOND, {"val": [silent]})
    assert prepare(str(folder), None, None, stores).val.sentences == ("bah", "bah", "")


@pytest.mark.parametrize("codes", [[-4, 5], [0x110000], [0, 98]])
def test_a_transcription_that_holds_no_characters_says_nothing(
    codes: list[int], folder: Path, stores: Path
) -> None:
    with h5py.File(folder / SECOND / "data_val.hdf5", "r+") as handle:
        group = handle["trial_0000"]
        group["transcription"][: len(codes) + 2] = [*codes, 0, 0]
        group.attrs.pop("sentence_label")
    sentences = prepare(str(folder), None, None, stores).val.sentences
    assert sentences == ("bah", "bah", None, "bah")


def test_a_sentence_label_that_is_no_text_is_a_problem(folder: Path, stores: Path) -> None:
    with h5py.File(folder / FIRST / "data_val.hdf5", "r+") as handle:
        handle["trial_0001"].attrs["sentence_label"] = 3
    with pytest.raises(DataError, match="trial_0001: attribute 'sentence_label' must be text"):
        prepare(str(folder), None, None, stores)


def test_t12_sentences_lose_the_padding_of_their_matrix_and_nothing_else(
    tmp_path: Path, stores: Path
) -> None:
    rng = np.random.default_rng(0)
    texts = ["Go.", "  The dog's  big house!", "A"]
    for session in ("t12.2022.04.28", "t12.2022.05.05"):
        sentences = [
            SentenceToWrite(rng.poisson(1.0, (40, 256)), rng.gamma(2.0, 9.0, (40, 256)), text, 1)
            for text in texts + texts[:1]
        ]
        splits = {"train": sentences[:3], "val": sentences[3:]}
        write_t12_session(tmp_path / "recordings", session, splits)
    matrix = scipy.io.loadmat(tmp_path / "recordings/train/t12.2022.04.28.mat")["sentenceText"]
    assert [len(row) for row in matrix] == [23, 23, 23]
    dataset = prepare(str(tmp_path / "recordings"), None, None, stores)
    assert dataset.train.sentences == ("Go.", "The dog's  big house!", "A") * 2
    assert dataset.val.sentences == ("Go.", "Go.")


@pytest.mark.parametrize("layout", ["T15", "T12"])
def test_generated_recordings_say_the_words_of_their_labels(
    layout: str, tiny_folder: Path, tiny_t12_folder: Path, stores: Path
) -> None:
    recordings = {"T15": tiny_folder, "T12": tiny_t12_folder}[layout]
    dataset = prepare(str(recordings), None, None, stores)
    for split in (dataset.train, dataset.val):
        assert split.sentences is not None
        for trial, sentence in enumerate(split.sentences):
            assert sentence is not None
            spoken = [(*pronunciations()[w], SEPARATOR_ID) for w in words_of_sentence(sentence)]
            assert np.concatenate(spoken).tolist() == split.target(trial).tolist()
