"""The T12 reader: its results, computed here in another way, and every error it must report."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.io
from numpy.typing import NDArray

from decoder.data import t12
from decoder.data.layouts import find_layout, session_names
from decoder.data.prepare import prepare
from decoder.data.recordings import Index, Problems
from decoder.data.synthetic import RECIPES
from decoder.data.writers import SentenceToWrite, write_t12_session
from decoder.errors import DataError
from decoder.phonemes import CLASSES, SEPARATOR_ID

FIRST, SECOND = "t12.2022.04.28", "t12.2022.05.05"
TEXTS = ("Hello there.", "A dog", "the cat!", "Yes")


def make_fields(seed: int, texts: tuple[str, ...] = TEXTS) -> dict[str, Any]:
    """Fields of a file as scipy writes them: two blocks, which differ in scale and offset."""
    rng = np.random.default_rng(seed)
    tx1, power = np.empty((1, len(texts)), object), np.empty((1, len(texts)), object)
    for i in range(len(texts)):
        n_bins, block = 20 + i, i // 2
        tx1[0, i] = rng.poisson(1 + block, (n_bins, 256)).astype(np.uint8)
        power[0, i] = (50 * block + rng.gamma(3, 20, (n_bins, 256))).astype(np.float32)
    width = max(map(len, texts))
    return {
        "sentenceText": np.array([text.ljust(width) for text in texts]),
        "tx1": tx1,
        "spikePow": power,
        "blockIdx": np.array([[3 + i // 2] for i in range(len(texts))], np.uint8),
    }


def save(folder: Path, session: str, split: str, fields: dict[str, Any]) -> Path:
    path = folder / split / f"{session}.mat"
    path.parent.mkdir(parents=True, exist_ok=True)
    scipy.io.savemat(path, fields, do_compression=True)
    return path


@pytest.fixture
def recordings(tmp_path: Path) -> Path:
    """Two sessions of four train and four test sentences; the first has a hold-out of four."""
    folder = tmp_path / "competitionData"
    for day, session in enumerate((FIRST, SECOND)):
        save(folder, session, "train", make_fields(10 * day))
        save(folder, session, "test", make_fields(10 * day + 1))
    save(folder, FIRST, "competitionHoldOut", make_fields(99))
    return folder


def read_everything(
    folder: Path, columns: NDArray[np.int64] | None = None
) -> tuple[Index, list[NDArray[np.float32]]]:
    """Both passes over all sessions, raising their problems; features of train, then val."""
    problems = Problems()
    index = t12.read_index(folder, session_names(folder, find_layout(folder)), problems)
    features = [
        x
        for file in (*index.train, *index.val)
        for _, x in t12.iterate_features(file, columns, problems)
    ]
    problems.raise_if_any()
    return index, features


def complaints(folder: Path) -> tuple[str, ...]:
    with pytest.raises(DataError) as caught:
        read_everything(folder)
    assert caught.value.exit_code == 3
    return caught.value.problems


def scored_as_published(fields: dict[str, Any]) -> list[NDArray[np.float64]]:
    """The features of a file, trial by trial, from running sums over the bins of each block."""
    features = []
    blocks = fields["blockIdx"].ravel()
    for i, block in enumerate(blocks):
        columns = []
        for name in ("tx1", "spikePow"):
            for column in range(128):
                values = [
                    float(value)
                    for j in np.flatnonzero(blocks == block)
                    for value in fields[name][0, j][:, column]
                ]
                mean = sum(values) / len(values)
                variance = sum((value - mean) ** 2 for value in values) / len(values)
                own = fields[name][0, i][:, column].astype(np.float64)
                columns.append((own - mean) / (variance**0.5 + 1e-8))
        features.append(np.stack(columns, axis=1))
    return features


def test_recorded_trials_are_read_back(recordings: Path) -> None:
    index, features = read_everything(recordings)
    assert index.sessions == (FIRST, SECOND)
    assert index.n_features == 256
    assert [len(file.trials) for file in (*index.train, *index.val)] == [4, 4, 4, 4]
    trial = index.train[0].trials[2]
    assert (trial.name, trial.n_bins, trial.block, trial.number) == ("trial 2", 22, 4, 2)
    spoken = ["DH", "AH", "SIL", "K", "AE", "T", "SIL"]
    assert trial.labels.tolist() == [CLASSES.index(phoneme) for phoneme in spoken]
    for x, expected in zip(features[:4], scored_as_published(make_fields(0)), strict=True):
        assert x.dtype == np.float32
        np.testing.assert_allclose(x, expected, atol=1e-5)


def test_the_test_folder_validates_and_the_hold_out_is_counted(recordings: Path) -> None:
    _, features = read_everything(recordings)
    np.testing.assert_allclose(features[8], scored_as_published(make_fields(1))[0], atol=1e-5)
    problems = Problems()
    hold_out = t12.split_path(recordings, FIRST, "test")
    assert t12.count_trials(hold_out, problems) == 4
    assert t12.count_trials(t12.split_path(recordings, SECOND, "test"), problems) == 0
    assert not problems.n_found
    hold_out.write_bytes(b"cut")
    assert t12.count_trials(hold_out, problems) == 0
    assert problems.n_found == 1


def test_columns_are_read_in_the_requested_order(recordings: Path) -> None:
    _, everything = read_everything(recordings)
    _, some = read_everything(recordings, np.array([200, 0]))
    np.testing.assert_array_equal(some[3], everything[3][:, [200, 0]])


def test_trials_of_a_block_need_not_be_adjacent(recordings: Path) -> None:
    fields = make_fields(0)
    fields["blockIdx"] = np.array([[3.0], [4.0], [3.0], [4.0]])
    save(recordings, FIRST, "train", fields)
    _, features = read_everything(recordings)
    np.testing.assert_allclose(features[2], scored_as_published(fields)[2], atol=1e-5)


def test_channel_that_never_changes_is_zero(recordings: Path) -> None:
    fields = make_fields(0)
    for trial in range(4):
        fields["tx1"][0, trial][:, 7] = 3
        fields["spikePow"][0, trial][:, 9] = 1234.567
    save(recordings, FIRST, "train", fields)
    _, features = read_everything(recordings)
    assert all(np.abs(x[:, [7, 137]]).max() < 1e-3 for x in features[:4])


def test_fields_may_be_columns_and_text_may_be_in_cells(recordings: Path) -> None:
    """The release documents other shapes than the public pipeline reads."""
    _, before = read_everything(recordings)
    fields = make_fields(0)
    cells = np.empty((4, 1), object)
    cells[:, 0] = [f"{text} " for text in TEXTS]
    turned = {name: fields[name].T for name in ("tx1", "spikePow", "blockIdx")}
    save(recordings, FIRST, "train", {**turned, "sentenceText": cells})
    index, after = read_everything(recordings)
    assert index.train[0].trials[2].labels.tolist() == index.train[1].trials[2].labels.tolist()
    np.testing.assert_array_equal(after[2], before[2])


def test_session_without_test_file_is_accepted_if_another_has_one(recordings: Path) -> None:
    (recordings / "test" / f"{FIRST}.mat").unlink()
    assert [len(file.trials) for file in read_everything(recordings)[0].val] == [0, 4]
    (recordings / "test" / f"{SECOND}.mat").unlink()
    assert "none of the 2 sessions has a trial to validate on" in complaints(recordings)[0]


def test_session_without_train_file_is_refused(recordings: Path) -> None:
    path = recordings / "train" / f"{SECOND}.mat"
    path.unlink()
    (found,) = complaints(recordings)
    assert str(path) in found and f"session '{SECOND}'" in found and "data.sessions" in found


def test_sentence_without_words_has_an_empty_target(recordings: Path) -> None:
    save(recordings, FIRST, "train", make_fields(0, ("Yes", "...", "", "No")))
    index, _ = read_everything(recordings)
    assert [len(trial.labels) for trial in index.train[0].trials] == [4, 0, 0, 3]


def set_trial(name: str, trial: int, value: Any) -> Callable[[dict[str, Any]], None]:
    def change(fields: dict[str, Any]) -> None:
        fields[name][0, trial] = value

    return change


def set_field(name: str, value: Any) -> Callable[[dict[str, Any]], None]:
    return lambda fields: fields.__setitem__(name, value)


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (
            lambda f: f.pop("tx1"),
            "field 'tx1' is missing (found: sentenceText, spikePow, blockIdx)",
        ),
        (lambda f: f.pop("blockIdx"), "field 'blockIdx' is missing"),
        (
            set_field("blockIdx", np.array([[1], [1], [2]])),
            "4 in sentenceText, 3 in blockIdx, 4 in tx1, 4 in spikePow",
        ),
        (set_field("blockIdx", np.array([[1], [1], [2], [2.5]])), "blockIdx must hold one integer"),
        (
            set_field("blockIdx", np.array([[1], [1], [2], [np.nan]])),
            "blockIdx must hold one integer",
        ),
        (set_field("blockIdx", "blocks"), "but is text of 1 rows"),
        (
            set_field("sentenceText", np.zeros(4)),
            "sentenceText must be a character matrix",
        ),
        (set_field("tx1", np.zeros((4, 256))), "tx1 must be a cell array with one (T, 256) array"),
        (
            set_trial("tx1", 1, np.zeros((21, 128))),
            "trial 1: tx1 must be numbers of shape (T, 256), but is float64 of shape (21, 128)",
        ),
        (
            set_trial("spikePow", 1, np.zeros((0, 0))),
            "trial 1: spikePow must be numbers of shape (T, 256), but is float64 of shape (0, 0)",
        ),
        (set_trial("spikePow", 1, "power"), "trial 1: spikePow must be numbers"),
        (
            set_trial("tx1", 1, np.zeros((20, 256))),
            "trial 1: tx1 has 20 bins, but spikePow has 21",
        ),
    ],
)
def test_each_mistake_names_file_and_trial(
    change: Callable[[dict[str, Any]], None], complaint: str, recordings: Path
) -> None:
    fields = make_fields(0)
    change(fields)
    path = save(recordings, FIRST, "train", fields)
    (found,) = complaints(recordings)
    assert found.startswith(f"{path}: ")
    assert complaint in found


def test_train_file_without_sentences_is_refused(recordings: Path) -> None:
    nothing = np.empty((1, 0), object)
    fields = {
        "sentenceText": np.zeros((0,), "<U1"),
        "tx1": nothing,
        "spikePow": nothing,
        "blockIdx": np.zeros((0, 1)),
    }
    path = save(recordings, FIRST, "train", fields)
    (found,) = complaints(recordings)
    assert str(path) in found and f"session '{FIRST}'" in found and "data.sessions" in found


def test_values_that_are_not_finite_are_counted_by_feature(recordings: Path) -> None:
    fields = make_fields(0)
    power = fields["spikePow"][0, 2].astype(np.float64)
    power[3:5, 2] = np.nan
    power[7, 3] = np.inf
    power[8, 200] = np.nan  # area 44 is not read
    fields["spikePow"][0, 2] = power
    path = save(recordings, FIRST, "train", fields)
    assert complaints(recordings) == (
        f"{path}: trial 2: has 3 values that are NaN or infinite, in feature 130 (2 bins), "
        "131 (1 bins) (from 128 on they are spikePow, before tx1)",
    )
    read_everything(recordings, columns=np.array([0, 1, 250]))  # without the damaged columns


@pytest.mark.parametrize(("power", "is_refused"), [(0.9e12, False), (1.1e12, True), (1e300, True)])
def test_power_beyond_any_amplifier_is_refused(
    power: float, is_refused: bool, recordings: Path
) -> None:
    fields = make_fields(0)
    raw = fields["spikePow"][0, 2].astype(np.float64)
    raw[7, 3] = -power
    fields["spikePow"][0, 2] = raw
    path = save(recordings, FIRST, "train", fields)
    if not is_refused:
        read_everything(recordings)
        return
    (found,) = complaints(recordings)
    assert found.startswith(f"{path}: trial 2: has 1 values beyond ±1e+12, in feature 131 (1 bins)")


def test_trial_twice_in_one_split_is_refused(recordings: Path) -> None:
    fields = make_fields(0)
    for name in ("tx1", "spikePow"):
        fields[name][0, 3] = fields[name][0, 1]
    path = save(recordings, FIRST, "train", fields)
    (found,) = complaints(recordings)
    assert found.startswith(f"{path}: trial 3 has the same features as {path}: trial 1;")


def test_a_long_list_of_unknown_words_is_cut(recordings: Path) -> None:
    words = " ".join(f"zz{chr(97 + i // 26)}{chr(97 + i % 26)}qx" for i in range(60))
    save(recordings, FIRST, "train", make_fields(0, (words, "hi", "yes", "no")))
    (found,) = complaints(recordings)
    assert found.startswith("60 words") and found.endswith("; and 40 more")


def test_link_that_leads_nowhere_is_not_taken_for_no_test_file(recordings: Path) -> None:
    path = recordings / "test" / f"{FIRST}.mat"
    path.unlink()
    path.symlink_to("moved.mat")
    (found,) = complaints(recordings)
    assert found.startswith(f"{path}: is a link that leads nowhere (moved.mat)")


def test_words_without_pronunciation_are_reported_together_and_can_be_added_beside_the_data(
    recordings: Path,
) -> None:
    train = save(
        recordings, FIRST, "train", make_fields(0, ("Hi Zyxxo", "zyxxo's qwrt", "5 cats", "ok"))
    )
    save(recordings, FIRST, "test", make_fields(1, ("Zyxxo", "yes", "no", "yes")))
    (found,) = complaints(recordings)
    assert found == (
        "4 words of sentenceText have no pronunciation; give each a line with its ARPAbet "
        f"phonemes, such as 'hello  HH AH L OW', in {recordings / 'pronunciations.txt'}: "
        f"'5' ({train}: trial 2); 'qwrt' ({train}: trial 1); "
        f"'zyxxo' ({train}: trial 0 and 1 more); 'zyxxo's' ({train}: trial 1)"
    )
    (recordings / "pronunciations.txt").write_text(
        "zyxxo  Z IH K S OW\nqwrt  K W ER T\n5  F AY V\n", encoding="utf-8"
    )
    index, _ = read_everything(recordings)
    labels = index.train[0].trials[1].labels
    spoken = ["Z", "IH", "K", "S", "OW", "Z", "SIL", "K", "W", "ER", "T", "SIL"]
    assert labels.tolist() == [CLASSES.index(phoneme) for phoneme in spoken]


def test_a_trial_in_train_and_in_test_is_refused(recordings: Path) -> None:
    fields = make_fields(1)
    for name in ("tx1", "spikePow"):
        fields[name][0, 3] = make_fields(10)[name][0, 2]  # of the other session
    path = save(recordings, FIRST, "test", fields)
    (found,) = complaints(recordings)
    other = recordings / "train" / f"{SECOND}.mat"
    assert found.startswith(f"{path}: trial 3 has the same features as {other}: trial 2; ")


def test_a_block_number_may_occur_in_both_splits(recordings: Path) -> None:
    """Files may number their blocks independently; only equal features identify a trial."""
    index, _ = read_everything(recordings)
    assert {t.block for t in index.train[0].trials} == {t.block for t in index.val[0].trials}


@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.99])
def test_truncated_file_is_a_data_error(share: float, recordings: Path) -> None:
    path = recordings / "train" / f"{FIRST}.mat"
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    assert complaints(recordings)[0].startswith(f"{path}: cannot be read as a MATLAB file: ")


def test_file_that_is_damaged_between_the_passes_is_a_problem(recordings: Path) -> None:
    problems = Problems()
    index = t12.read_index(recordings, (FIRST, SECOND), problems)
    index.train[0].path.write_bytes(b"")
    assert list(t12.iterate_features(index.train[0], None, problems)) == []
    assert problems.n_found == 1


def test_no_altered_byte_causes_a_traceback(recordings: Path) -> None:
    (recordings / "train" / f"{SECOND}.mat").unlink()
    (recordings / "test" / f"{SECOND}.mat").unlink()
    path = recordings / "train" / f"{FIRST}.mat"
    scipy.io.savemat(path, make_fields(0, ("Yes", "No")))  # not compressed, so without a checksum
    content = path.read_bytes()
    rng = np.random.default_rng(0)
    n_refused = 0
    for _ in range(60):
        altered = bytearray(content)
        altered[rng.integers(124, 500)] ^= 1 << rng.integers(8)  # tags, text, shapes
        path.write_bytes(altered)
        try:
            read_everything(recordings)
        except DataError as error:
            n_refused += 1
            assert str(path) in error.problems[0] or "pronunciation" in error.problems[0]
    assert n_refused > 5


def test_written_trials_are_read_by_scipy_and_by_us(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    sentences = [
        SentenceToWrite(
            rng.poisson(1.0, (9 + i, 256)).astype(np.uint8),
            rng.gamma(2.0, 9.0, (9 + i, 256)).astype(np.float32),
            text,
            block=7,
        )
        for i, text in enumerate(("It's me.", "Café"))
    ]
    splits = {"train": sentences, "val": sentences[:1], "test": sentences}
    write_t12_session(tmp_path, FIRST, splits)
    theirs = scipy.io.loadmat(tmp_path / "train" / f"{FIRST}.mat")
    assert [text.strip() for text in theirs["sentenceText"]] == ["It's me.", "Café"]
    assert theirs["blockIdx"].tolist() == [[7], [7]]
    assert theirs["tx1"].shape == theirs["spikePow"].shape == (1, 2)
    np.testing.assert_array_equal(theirs["spikePow"][0, 1], sentences[1].spike_pow)
    blank = scipy.io.loadmat(tmp_path / "competitionHoldOut" / f"{FIRST}.mat")["sentenceText"]
    assert [text.strip() for text in blank] == ["", ""]
    once = (tmp_path / "train" / f"{FIRST}.mat").read_bytes()
    write_t12_session(tmp_path, FIRST, splits)
    assert (tmp_path / "train" / f"{FIRST}.mat").read_bytes() == once


def test_generated_sessions_are_read_with_their_labels_and_z_scored(tiny_t12_folder: Path) -> None:
    index, features = read_everything(tiny_t12_folder)
    recipe = RECIPES["t12_tiny"]
    assert [len(f.trials) for f in (*index.train, *index.val)] == [12, 12, 4, 4]
    raw = scipy.io.loadmat(index.train[0].path)
    for trial, text in zip(index.train[0].trials, raw["sentenceText"], strict=True):
        n_words = len(text.split())
        assert recipe.min_words <= n_words <= recipe.max_words
        assert text[0].isupper() and text.rstrip().endswith(".")
        assert (trial.labels == SEPARATOR_ID).sum() == n_words
        assert trial.labels[-1] == SEPARATOR_ID
    # The hold-out has the first block, so these are the second and the third.
    blocks = np.array([trial.block for trial in index.train[0].trials])
    assert blocks.tolist() == [2] * 6 + [3] * 6
    for block in (2, 3):
        own = np.concatenate([features[i] for i in np.flatnonzero(blocks == block)])
        np.testing.assert_allclose(own.mean(axis=0), 0.0, atol=1e-5)
        np.testing.assert_allclose(own.std(axis=0), 1.0, atol=1e-4)
    power = [raw["spikePow"][0, i] for i in range(12)]
    one, other = (np.concatenate(power[s])[:, :128].mean(axis=0) for s in (slice(6), slice(6, 12)))
    assert np.median(np.abs(np.log(one / other))) > 0.1  # blocks differ in scale: scoring matters


def test_the_store_is_the_same_when_read_again(tiny_t12_folder: Path, tmp_path: Path) -> None:
    first = prepare(str(tiny_t12_folder), None, (0, 130, 5), tmp_path / "one")
    again = prepare(str(tiny_t12_folder), None, (0, 130, 5), tmp_path / "two")
    assert first.fingerprint == again.fingerprint
    assert first.n_features == 3
    files = {path.name: path.read_bytes() for path in first.path.iterdir()}
    assert files == {path.name: path.read_bytes() for path in again.path.iterdir()}


def test_fingerprint_depends_on_the_pronunciations(tiny_t12_folder: Path, tmp_path: Path) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(tiny_t12_folder, folder)
    stores = tmp_path / "stores"
    first = prepare(str(folder), None, None, stores)
    path = folder / "pronunciations.txt"
    path.write_text(path.read_text(encoding="utf-8") + "the  DH IY\n", encoding="utf-8")
    second = prepare(str(folder), None, None, stores)
    assert second.fingerprint != first.fingerprint
    assert second.train.labels.tolist() != first.train.labels.tolist()
