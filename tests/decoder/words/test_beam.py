"""The beam search to words, against an exhaustive search over sequences of words."""

import itertools
import math
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from decoder.errors import DataError
from decoder.phonemes import BLANK, N_CLASSES, SEPARATOR_ID
from decoder.words.beam import BeamSettings, SearchSpace, WordDecoder
from decoder.words.ngram import KneserNey

pytest.importorskip("flashlight.lib.text.decoder")

# Ten words of two or more phonemes: words that begin others, a word of one phoneme twice, two words
# that sound the same, and a word with two pronunciations.
LEXICON = {
    "ab": ((1, 2),),
    "abc": ((1, 2, 3),),
    "ba": ((2, 1),),
    "bb": ((2, 2),),
    "cab": ((3, 1, 2),),
    "ca": ((3, 1),),
    "kah": ((3, 1),),
    "bc": ((2, 3), (1, 3)),
    "acb": ((1, 3, 2),),
    "ccc": ((3, 3, 3),),
}
TEXTS = [["ab", "ba"], ["cab", "ab", "kah"], ["ca", "bc"], ["bb"], ["ab", "bc", "acb"], ["ccc"]]


def best_alignment(frames: np.ndarray, words: list[tuple[int, ...]], full: bool = False) -> float:
    """The score of the best alignment of words, by states that are worked out one by one.

    full: whether every alignment of CTC counts, also those that the search leaves out.
    """
    # A state is a boundary, or a phoneme's first frame, its later frames, or blanks inside a word.
    states: list[tuple[str, int, int]] = [("boundary", 0, 0)]
    for w, word in enumerate(words):
        for i in range(len(word)):
            states += [("first", w, i), ("held", w, i)]
            states += [("blank", w, i)] if i + 1 < len(word) else []
        states.append(("boundary", w + 1, 0))

    def emitted(state: tuple[str, int, int], frame: np.ndarray) -> float:
        kind, w, i = state
        if kind == "boundary":
            return float(max(frame[BLANK], frame[SEPARATOR_ID]))
        return float(frame[BLANK if kind == "blank" else words[w][i]])

    def following(state: tuple[str, int, int]) -> list[tuple[str, int, int]]:
        kind, w, i = state
        if kind == "boundary":
            return [state, *([("first", w, 0)] if w < len(words) else [])]
        after: list[tuple[str, int, int]] = [state] if kind == "blank" else [("held", w, i)]
        if i + 1 < len(words[w]):
            if kind != "blank":
                after.append(("blank", w, i))
            if kind == "blank" or words[w][i + 1] != words[w][i]:
                after.append(("first", w, i + 1))
            return after
        after.append(("boundary", w + 1, 0))
        twice = len(words[w]) > 1 and words[w][-1] == words[w][-2]
        more = w + 1 < len(words) and words[w + 1][0] != words[w][i]
        at_once = more and (full or (kind == "first" and not twice))
        return after + ([("first", w + 1, 0)] if at_once else [])

    scores = {state: emitted(state, frames[0]) for state in following(states[0])}
    for frame in frames[1:]:
        reached: dict[tuple[str, int, int], float] = {}
        for state, score in scores.items():
            for nxt in following(state):
                total = score + emitted(nxt, frame)
                reached[nxt] = max(total, reached.get(nxt, -math.inf))
        scores = reached
    n = len(words)
    ends = [("boundary", n, 0)]
    ends += [(kind, n - 1, len(words[-1]) - 1) for kind in ("first", "held")] if words else []
    return max(scores.get(state, -math.inf) for state in ends)


def exhaustive(
    frames: np.ndarray, chosen: BeamSettings, model: KneserNey | None, full: bool = False
) -> dict[tuple[str, ...], float]:
    frames = frames.copy()
    frames[:, BLANK] -= chosen.blank_penalty
    found = {}
    for n in range(4):
        for words in itertools.product(LEXICON, repeat=n):
            spoken = itertools.product(*(LEXICON[word] for word in words))
            score = max(best_alignment(frames, list(one), full) for one in spoken)
            if score > -math.inf:
                lm = model.log_probability(words) if model else 0.0
                found[words] = score + chosen.lm_weight * lm + chosen.word_score * n
    return found


@pytest.fixture(scope="module")
def arpa(tmp_path_factory: pytest.TempPathFactory) -> tuple[KneserNey, Path]:
    model = KneserNey(TEXTS, 2, n_unknown=3)
    path = tmp_path_factory.mktemp("arpa") / "bigram.arpa"
    model.write_arpa(path)
    return model, path


def log_posteriors(seed: int, n_frames: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    logits = np.full((n_frames, N_CLASSES), -30.0)
    logits[:, [BLANK, 1, 2, 3, SEPARATOR_ID]] = rng.normal(0, 2, (n_frames, 5))
    return logits - np.log(np.exp(logits).sum(1, keepdims=True))


@settings(max_examples=15, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    n_frames=st.integers(1, 7),
    lm_weight=st.sampled_from([0.0, 0.5, 2.0]),
    word_score=st.sampled_from([-1.0, 0.0, 1.5]),
    blank_penalty=st.sampled_from([0.0, 1.0]),
    with_model=st.booleans(),
)
def test_a_wide_beam_finds_what_an_exhaustive_search_over_words_finds(
    seed: int,
    n_frames: int,
    lm_weight: float,
    word_score: float,
    blank_penalty: float,
    with_model: bool,
    arpa: tuple[KneserNey, Path],
) -> None:
    chosen = BeamSettings(5000, lm_weight, word_score, blank_penalty, threshold=1e5)
    frames = log_posteriors(seed, n_frames)
    expected = exhaustive(frames, chosen, arpa[0] if with_model else None)
    if not with_model:  # nothing tells "ca" and "kah" apart, and the first is kept
        expected = {words: score for words, score in expected.items() if "kah" not in words}
    decoder = WordDecoder(SearchSpace(LEXICON, arpa[1] if with_model else None), chosen)
    found = decoder.decode(frames, n_best=20)
    best = max(expected.values())
    assert found[0].score == pytest.approx(best, abs=1e-3)
    assert expected[found[0].words] == pytest.approx(best, abs=1e-3)
    ranked = sorted(expected.values(), reverse=True)
    for candidate, score in zip(found, ranked, strict=False):
        assert candidate.score == pytest.approx(score, abs=1e-3)


def spelt(path: tuple[int, ...]) -> str:
    """What a path of classes says: repeats merged, then blanks dropped, as letters; - separates."""
    merged = [one for one, _ in itertools.groupby(path)]
    return "".join("-" if one == SEPARATOR_ID else "_abc"[one] for one in merged if one != BLANK)


@pytest.mark.parametrize("seed", range(3))
def test_the_full_oracle_is_the_best_of_all_paths_of_ctc(seed: int) -> None:
    frames = log_posteriors(seed, 5)
    best: dict[str, float] = {}
    for path in itertools.product([BLANK, 1, 2, 3, SEPARATOR_ID], repeat=5):
        score = float(frames[np.arange(5), path].sum())
        best[spelt(path)] = max(score, best.get(spelt(path), -math.inf))
    for n in range(4):
        for words in itertools.product(LEXICON, repeat=n):
            for spoken in itertools.product(*(LEXICON[word] for word in words)):
                said = ["".join("_abc"[one] for one in word) for word in spoken]
                pattern = re.compile("-*" + "".join(f"{word}-*" for word in said))
                expected = max(
                    (v for k, v in best.items() if pattern.fullmatch(k)), default=-math.inf
                )
                found = best_alignment(frames, list(spoken), full=True)
                assert found == pytest.approx(expected, abs=1e-9), words


@settings(max_examples=8, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    words=st.lists(st.sampled_from(sorted(LEXICON)), min_size=1, max_size=2),
    with_model=st.booleans(),
)
def test_with_separators_after_words_the_search_finds_the_best_of_all_alignments(
    seed: int, words: list[str], with_model: bool, arpa: tuple[KneserNey, Path]
) -> None:
    path = [BLANK]
    for word in words:
        for phoneme in LEXICON[word][0]:
            path += [phoneme, BLANK]
        path[-1] = SEPARATOR_ID
    frames = log_posteriors(seed, len(path))
    frames[np.arange(len(path)), path] += 6.0
    chosen = BeamSettings(3000, 1.0, -1.0, threshold=1e5)
    expected = exhaustive(frames, chosen, arpa[0] if with_model else None, full=True)
    space = SearchSpace(LEXICON, arpa[1] if with_model else None)
    [found] = WordDecoder(space, chosen).decode(frames)
    assert found.score == pytest.approx(max(expected.values()), abs=1e-3)


# Each path says two words with nothing between them.
@pytest.mark.parametrize(
    ("words", "path", "is_left_out"),
    [
        (("ab", "ab"), [1, 2, 1, 2], False),
        (("ab", "cab"), [1, 1, 2, 3, 3, 1, 2], False),
        (("ab", "cab"), [1, 2, 2, 3, 1, 2], True),  # a last phoneme of two frames
        (("ccc", "ab"), [3, 0, 3, 0, 3, 1, 2], True),  # a word that ends in a phoneme twice
        (("bb", "ab"), [2, 0, 2, 1, 2], True),
        (("bb", "ab"), [2, 0, 2, 0, 1, 2], False),
    ],
)
def test_the_alignments_left_out_are_those_that_the_module_names(
    words: tuple[str, str], path: list[int], is_left_out: bool
) -> None:
    frames = np.full((len(path), N_CLASSES), -20.0)
    frames[np.arange(len(path)), path] = -0.01
    spoken = [LEXICON[word][0] for word in words]
    assert best_alignment(frames, spoken, full=True) == pytest.approx(-0.01 * len(path))
    space = SearchSpace({word: (LEXICON[word][0],) for word in words})
    found = {
        one.words: one.score
        for one in WordDecoder(space, BeamSettings(2000, threshold=1e5)).decode(frames, 2000)
    }
    score = found.get(words, -math.inf)
    assert (best_alignment(frames, spoken, full=True) - score > 1) == is_left_out
    assert score == pytest.approx(best_alignment(frames, spoken), abs=1e-3)


def test_of_words_that_sound_the_same_the_six_most_likely_are_kept(tmp_path: Path) -> None:
    alike = [f"same{i}" for i in range(8)]
    lexicon = {word: ((1, 2),) for word in alike} | {"other": ((2, 1),)}
    texts = [[word] for i, word in enumerate(alike) for _ in range(i + 1)]
    path = tmp_path / "unigram.arpa"
    KneserNey([*texts, ["other"]], 2).write_arpa(path)
    frames = np.full((3, N_CLASSES), -20.0)
    frames[np.arange(3), [1, 2, SEPARATOR_ID]] = -0.01
    chosen = BeamSettings(500, threshold=1e5)
    found = WordDecoder(SearchSpace(lexicon, path), chosen).decode(frames, 500)
    single = [one.words[0] for one in found if len(one.words) == 1 and one.words[0] in alike]
    assert single == alike[:1:-1]
    without = WordDecoder(SearchSpace(lexicon), chosen).decode(frames, 500)
    kept = {one.words[0] for one in without if len(one.words) == 1} & set(alike)
    assert kept == {alike[0]}  # nothing tells them apart


def test_a_candidate_s_score_is_the_sum_of_its_parts(arpa: tuple[KneserNey, Path]) -> None:
    chosen = BeamSettings(200, 1.5, -0.75, blank_penalty=0.5)
    found = WordDecoder(SearchSpace(LEXICON, arpa[1]), chosen).decode(log_posteriors(3, 9), 50)
    assert len(found) > 10
    assert [one.score for one in found] == sorted((one.score for one in found), reverse=True)
    for one in found:
        parts = one.emission + 1.5 * one.language - 0.75 * len(one.words)
        assert one.score == pytest.approx(parts, abs=1e-3)
        assert one.language == pytest.approx(arpa[0].log_probability(one.words), abs=1e-3)


@pytest.mark.parametrize("between", [[], [BLANK], [SEPARATOR_ID], [SEPARATOR_ID, SEPARATOR_ID]])
def test_the_separator_between_words_is_optional(between: list[int]) -> None:
    path = [2, 2, 1, *between, 3, 1, 2]
    frames = np.full((len(path), N_CLASSES), -20.0)
    frames[np.arange(len(path)), path] = -0.01
    decoder = WordDecoder(SearchSpace(LEXICON), BeamSettings(100, word_score=-1.0))
    assert decoder.decode(frames)[0].words == ("ba", "cab")


def test_a_file_that_is_no_language_model_is_refused(tmp_path: Path) -> None:
    (tmp_path / "model.arpa").write_text("nothing")
    with pytest.raises(DataError, match="model.arpa"):
        SearchSpace(LEXICON, tmp_path / "model.arpa")


def test_loading_a_model_prints_nothing_and_what_others_print_meanwhile_is_kept(
    arpa: tuple[KneserNey, Path], capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    SearchSpace(LEXICON, arpa[1])
    assert capfd.readouterr() == ("", "")
    from flashlight.lib.text import dictionary

    class Talking(dictionary.Dictionary):  # type: ignore[misc]
        def __init__(self, words: list[str]) -> None:
            super().__init__(words)
            os.write(2, b"a line of another thread\n")

    monkeypatch.setattr(dictionary, "Dictionary", Talking)
    SearchSpace(LEXICON, arpa[1])
    assert capfd.readouterr().err == "a line of another thread\n"


def test_a_process_without_standard_error_loads_a_model(arpa: tuple[KneserNey, Path]) -> None:
    code = (
        "import os, sys; from pathlib import Path; from decoder.words.beam import SearchSpace\n"
        "os.close(2); sys.stderr = None\n"
        "print(len(SearchSpace({'ab': ((1, 2),)}, Path(sys.argv[1])).words))"
    )
    argv = [sys.executable, "-c", code, str(arpa[1])]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout.strip()) == (0, "1")


def test_other_shapes_and_not_a_number_are_refused() -> None:
    decoder = WordDecoder(SearchSpace(LEXICON), BeamSettings())
    with pytest.raises(ValueError, match="41"):
        decoder.decode(np.zeros((3, 40)))
    with pytest.raises(ValueError, match="NaN"):
        decoder.decode(np.full((3, N_CLASSES), np.nan))
