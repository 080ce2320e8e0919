"""Decoding a pack's evaluations to words: what is counted, of what, and with which files."""

import math
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from decoder.config import DecoderConfig, identity, override, pack_key, resolve, run_id
from decoder.data.store import Dataset, Split
from decoder.errors import ConfigError, DataError
from decoder.pack import (
    HELD_OUT_WORD_COLUMNS,
    HISTORY_COLUMNS,
    WORD_COLUMNS,
    HistoryRow,
    Pack,
    Run,
    RunResult,
)
from decoder.train import train
from decoder.word_evaluation import settings_of
from decoder.word_files import planned_files, with_word_hashes, word_files

pytest.importorskip("flashlight.lib.text.decoder")

LEXICON = "SEE  S IY1\nTHE  DH AH0\nA  AH0\nWE  W IY1\nCAT  K AE1 T\nSAT  S AE1 T\nAT  AE1 T\n"
SENTENCES = ("We see the cat.", "The cat sat!", "a cat sat at the dog", "we see a cat")
SMALL: dict[str, Any] = {
    "data.batch_size": 6,
    "data.days_per_batch": 2,
    "model.n_units": 8,
    "model.n_layers": 1,
    "model.patch_size": 6,
    "model.patch_stride": 4,
    "model.rnn_dropout": 0.2,
    "optim.lr_warmup_steps": 2,
    "train.n_steps": 8,
    "train.eval_every_steps": 2,
}
STATED = {
    "evaluation.words.lm_weight": 1.0,
    "evaluation.words.word_score": 0.0,
    "evaluation.words.blank_penalty": 0.0,
}


def with_sentences(split: Split) -> Split:
    return replace(split, sentences=tuple(SENTENCES[i % 4] for i in range(split.n_trials)))


@pytest.fixture
def recordings(dataset: Dataset, tmp_path: Path) -> Dataset:
    """The data set of all tests with sentences, and a folder that models can be written into."""
    return replace(
        dataset,
        path=tmp_path / "datasets" / dataset.fingerprint,
        train=with_sentences(dataset.train),
        val=with_sentences(dataset.val),
    )


@pytest.fixture
def beam(tmp_path: Path) -> dict[str, Any]:
    """Settings that decode to words with a lexicon of seven words and a bigram."""
    lexicon = tmp_path / "lexicon.txt"
    lexicon.write_text(LEXICON)
    return {
        "evaluation.words.decoder": "beam",
        "evaluation.words.lexicon": str(lexicon),
        "evaluation.words.language_model": "train",
        "evaluation.words.ngram_order": 2,
        "evaluation.words.beam_width": 8,
    }


def made(*changes: Mapping[str, Any], store: Path = Path("nowhere")) -> Pack:
    configs = [resolve(override(DecoderConfig(), {**SMALL, **one}, "test")) for one in changes]
    hashed = [with_word_hashes(config, store) for config in configs]
    assert len({pack_key(config) for config in hashed}) == 1
    return Pack("pack", 5, tuple(Run(f"run{i}", one) for i, one in enumerate(hashed)))


def trained(pack: Pack, recordings: Dataset, **options: Any) -> list[RunResult]:
    events = train(pack, recordings, device="cpu", **options)
    found = {result.run_id: result for event in events for result in event.finished}
    return [found[run.run_id] for run in pack.runs]


def same(one: Sequence[HistoryRow], other: Sequence[HistoryRow]) -> bool:
    """Whether two histories have the same numbers, NaN included."""
    return repr(list(one)) == repr(list(other))


def columns(result: RunResult, names: Sequence[str]) -> list[list[float]]:
    return [[row[name] for name in names] for row in result.history]


def test_the_last_evaluation_counts_the_words_of_half_the_trials(
    recordings: Dataset, beam: dict[str, Any]
) -> None:
    [result] = trained(made(beam), recordings)
    *earlier, last = result.history
    assert len(earlier) == 3
    assert all(math.isnan(row[name]) for row in earlier for name in WORD_COLUMNS)
    kinds = ("n_word_substitutions", "n_word_deletions", "n_word_insertions")
    assert last["n_word_edits"] == sum(last[name] for name in kinds)
    assert last["wer"] == last["n_word_edits"] / last["n_reference_words"]
    assert last["wer_oracle"] == last["n_word_edits_oracle"] / last["n_reference_words"]
    assert last["wer_oracle"] <= last["wer"]
    facts = result.words
    n_val = recordings.val.n_trials
    assert facts["n_reported"] + facts["n_tuned"] == n_val  # type: ignore[operator]
    assert 0 < facts["n_tuned"] < n_val and facts["grid_size"] > 1  # type: ignore[operator]
    assert facts["lexicon_words"] == 7 and facts["training_sentences"] == 48
    assert {"lm_weight", "word_score", "blank_penalty", "language_model_sha256"} <= facts.keys()


def test_stated_weights_report_every_trial(recordings: Dataset, beam: dict[str, Any]) -> None:
    [result] = trained(made({**beam, **STATED}), recordings)
    n_words = sum(len(one.split()) for one in recordings.val.sentences or ())  # type: ignore
    last = result.history[-1]
    assert last["n_reference_words"] == n_words
    assert (result.words["n_tuned"], result.words["lm_weight"]) == (0, 1.0)
    # "dog", in every fourth sentence, is the only word that the lexicon lacks.
    assert last["out_of_vocabulary"] == recordings.val.n_trials // 4 / n_words


def test_every_n_th_evaluation_is_decoded_where_asked(
    recordings: Dataset, beam: dict[str, Any]
) -> None:
    [result] = trained(made({**beam, **STATED, "evaluation.words.every": 2}), recordings)
    known = [math.isfinite(row["wer"]) for row in result.history]
    assert known == [False, True, False, True]


def test_words_change_no_other_number(recordings: Dataset, beam: dict[str, Any]) -> None:
    [without] = trained(made({}), recordings)
    [with_words] = trained(made(beam), recordings)
    assert set(without.history[0]) == set(HISTORY_COLUMNS) and not without.words
    assert columns(without, HISTORY_COLUMNS) == columns(with_words, HISTORY_COLUMNS)
    assert without.per_session == with_words.per_session


def test_a_run_alone_gives_the_words_that_it_gives_in_a_pack(
    recordings: Dataset, beam: dict[str, Any]
) -> None:
    arms = [{"optim.lr_max": 0.02}, beam, {**beam, **STATED}, {**beam, "optim.lr_max": 0.01}]
    together = trained(made(*arms), recordings)
    assert not together[0].words
    for arm, result in zip(arms, together, strict=True):
        [alone] = trained(made(arm), recordings)
        # Other columns may differ in the last bit, as the sums of a pack have another order.
        assert alone.words == result.words
        for mine, theirs in zip(alone.history, result.history, strict=True):
            names = [name for name in mine if name in WORD_COLUMNS]
            assert same([{n: mine[n] for n in names}], [{n: theirs[n] for n in names}])


def test_decoding_on_another_thread_changes_no_number(
    recordings: Dataset, beam: dict[str, Any]
) -> None:
    pack = made({**beam, "evaluation.words.every": 1}, beam)
    now = trained(pack, recordings, beside=False)
    later = trained(pack, recordings, beside=True)
    for one, other in zip(now, later, strict=True):
        assert same(one.history, other.history) and one.words == other.words


@pytest.mark.parametrize("stop", [1, 4, 7])
def test_a_resumed_run_gives_the_same_words(
    recordings: Dataset, beam: dict[str, Any], tmp_path: Path, stop: int
) -> None:
    pack = made({**beam, "evaluation.words.every": 2})
    [whole] = trained(pack, recordings)
    folder = tmp_path / "checkpoint"
    list(train(pack, recordings, device="cpu", checkpoint_dir=folder, until_step=stop))
    [resumed] = trained(pack, recordings, checkpoint_dir=folder)
    assert same(whole.history, resumed.history) and whole.words == resumed.words


def test_results_with_words_go_through_a_checkpoint(
    recordings: Dataset, beam: dict[str, Any], tmp_path: Path
) -> None:
    """A run that ended before the checkpoint comes back from it."""
    pack = made({**beam, "train.n_steps": 4}, {**beam, **STATED})
    whole = trained(pack, recordings)
    folder = tmp_path / "checkpoint"
    list(train(pack, recordings, device="cpu", checkpoint_dir=folder, until_step=6))
    resumed = trained(pack, recordings, checkpoint_dir=folder)
    assert [one.words for one in resumed] == [one.words for one in whole]
    assert all(same(a.history, b.history) for a, b in zip(whole, resumed, strict=True))


def test_a_trial_that_a_decoder_cannot_align_leaves_the_halves_of_the_others_alone(
    recordings: Dataset, beam: dict[str, Any]
) -> None:
    """Arms with other patches leave out other trials."""
    from decoder.word_evaluation import PackWords

    stated = {**STATED, "evaluation.words.word_score": "tune"}
    pack, rng = made({**beam, **stated}), np.random.default_rng(0)
    words = PackWords(pack.runs, recordings)
    n = recordings.val.n_trials
    every = {i: np.float32(rng.normal(-4, 1, (6, 41))) for i in range(n)}

    def reported(left_out: int | None) -> int:
        some = {i: one for i, one in every.items() if i != left_out}
        found = words.evaluate(pack.runs[0], some, {})
        assert sum(found.facts[name] for name in ("n_tuned", "n_reported")) == len(some)  # type: ignore[misc]
        return int(found.columns["n_reference_words"])

    whole = reported(None)
    lost = [whole - reported(i) for i in range(n)]
    own = [len(text.split()) for text in recordings.val.sentences or () if text]
    assert all(one in (0, n_words) for one, n_words in zip(lost, own, strict=True))
    assert sum(lost) == whole < sum(own)


# Sessions held out


def test_sessions_held_out_are_decoded_with_the_weights_of_the_others(
    recordings: Dataset, beam: dict[str, Any]
) -> None:
    apart = {**beam, "data.held_out_sessions": 1}
    [result] = trained(made(apart), recordings)
    last, n_apart = result.history[-1], int((recordings.val.day == 3).sum())
    n_words = sum(
        len(text.split())
        for text, day in zip(recordings.val.sentences or (), recordings.val.day, strict=True)
        if text is not None and day == 3
    )
    assert last["n_reference_words_held_out"] == n_words
    assert last["wer_held_out"] == last["n_word_edits_held_out"] / n_words
    both = (result.words["n_reported"], result.words["n_tuned"])
    assert sum(both) == recordings.val.n_trials - n_apart  # type: ignore[arg-type]
    chosen = {
        f"evaluation.words.{name}": result.words[name]
        for name in ("lm_weight", "word_score", "blank_penalty")
    }
    [stated] = trained(made({**apart, **chosen}), recordings)
    assert columns(stated, HELD_OUT_WORD_COLUMNS)[-1] == columns(result, HELD_OUT_WORD_COLUMNS)[-1]


def test_no_sentence_of_theirs_reaches_the_language_model_or_the_weights(
    recordings: Dataset, beam: dict[str, Any]
) -> None:
    apart = {**beam, "data.held_out_sessions": 1, "evaluation.words.lexicon": "train"}
    [sound] = trained(made(apart), recordings)

    def poisoned(split: Split) -> Split:
        pairs = zip(split.sentences or (), split.day, strict=True)
        return replace(split, sentences=tuple("zebra" if d == 3 else text for text, d in pairs))

    bad = replace(recordings, train=poisoned(recordings.train), val=poisoned(recordings.val))
    [found] = trained(made(apart), bad)
    assert found.words == sound.words
    assert columns(found, WORD_COLUMNS)[-1] == columns(sound, WORD_COLUMNS)[-1]
    assert columns(found, HELD_OUT_WORD_COLUMNS)[-1] != columns(sound, HELD_OUT_WORD_COLUMNS)[-1]


# A decoder of the user's


def test_a_command_decodes_where_asked(recordings: Dataset, tmp_path: Path) -> None:
    script = tmp_path / "decode.py"
    script.write_text(
        "import csv, sys, numpy\n"
        "n = len(numpy.load(sys.argv[1])['offsets']) - 1\n"
        "with open(sys.argv[2], 'w', newline='') as file:\n"
        "    rows = csv.writer(file)\n"
        "    rows.writerow(['id', 'text'])\n"
        "    rows.writerows([i, 'the cat sat'] for i in range(n))\n"
    )
    command = [sys.executable, str(script), "{logits}", "{sentences}"]
    changes = {"evaluation.words.decoder": "command", "evaluation.words.command": command}
    pack = made(changes)
    assert pack.runs[0].config.files.keys() == {"evaluation.words.command.1"}
    [result] = trained(pack, recordings)
    last = result.history[-1]
    # Against "we see the cat", "the cat sat", "a cat sat at the dog", "we see a cat".
    assert last["n_word_edits"] == (3 + 0 + 4 + 4) * recordings.val.n_trials // 4
    assert last["wer_oracle"] == last["wer"] and math.isnan(last["out_of_vocabulary"])
    assert result.words["n_reported"] == recordings.val.n_trials
    script.write_text("raise SystemExit(3)")
    with pytest.raises(DataError, match="has changed since the runs were planned"):
        trained(pack, recordings)
    with pytest.raises(DataError, match="exit code 3"):
        trained(made(changes), recordings)


# Files, identity, and what is refused


def test_a_file_counts_by_its_content_and_not_by_its_place(
    beam: dict[str, Any], tmp_path: Path
) -> None:
    def id_of(text: str, name: str) -> str:
        path = tmp_path / name
        path.write_text(text)
        pack = made({**beam, "evaluation.words.lexicon": str(path)})
        return run_id(pack.runs[0].config, 1, "data")

    assert id_of(LEXICON, "a.txt") == id_of(LEXICON, "b.txt")
    assert id_of(LEXICON + "DOG  D AO1 G\n", "a.txt") != id_of(LEXICON, "a.txt")


def test_a_script_of_a_command_counts_by_its_content_and_its_position(tmp_path: Path) -> None:
    def id_of(text: str, *names: str) -> str:
        for name in names:
            (tmp_path / name).write_text(text)
        argv = [sys.executable, *(str(tmp_path / name) for name in names), "{logits}"]
        words = {"evaluation.words.decoder": "command", "evaluation.words.command": argv}
        return run_id(made(words).runs[0].config, 1, "data")

    assert id_of("pass", "a.py") == id_of("pass", "b.py") != id_of("1", "a.py")
    assert id_of("pass", "a.py") != id_of("pass", "a.py", "b.py")


def test_a_file_that_changed_since_the_plan_is_refused(
    recordings: Dataset, beam: dict[str, Any]
) -> None:
    pack = made(beam)
    path = Path(beam["evaluation.words.lexicon"])
    key = "evaluation.words.lexicon"
    assert planned_files(pack.runs[0].config, recordings.path) == {key: path}
    path.write_text(LEXICON + "DOG  D AO1 G\n")
    with pytest.raises(DataError, match=r"evaluation\.words\.lexicon: .* has changed"):
        trained(pack, recordings)
    path.unlink()
    with pytest.raises(DataError, match=r"evaluation\.words\.lexicon: .* cannot be read"):
        trained(pack, recordings)


def test_a_file_elsewhere_on_this_machine_is_used(
    recordings: Dataset, beam: dict[str, Any], tmp_path: Path
) -> None:
    pack = made(beam)
    [here] = trained(pack, recordings)
    written = beam["evaluation.words.lexicon"]
    moved = Path(written).rename(tmp_path / "moved.txt")
    [there] = trained(pack, recordings, start_files={written: moved})
    assert here.words == there.words and same(here.history, there.history)


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"evaluation.words.lexicon": "no/such.txt"}, r"lexicon: there is no file no/such\.txt"),
        ({"evaluation.words.lexicon": "none"}, r"lexicon: there is no file none"),
        ({"evaluation.words.language_model": "no.arpa"}, r"language_model: there is no file"),
        ({"evaluation.words.language_model": "cmudict"}, r"language_model: there is no file"),
        ({"evaluation.words.decoder": "command"}, r"evaluation\.words\.command is empty"),
        (
            {"evaluation.words.decoder": "command", "evaluation.words.command": ["no-such-one"]},
            r"'no-such-one' is no program",
        ),
        (
            {
                "evaluation.words.decoder": "command",
                "evaluation.words.command": ["python", "absent.py", "{logits}", "{sentences}"],
            },
            r"command: there is no file absent\.py",
        ),
        ({"evaluation.words.lexicon": "none"}, r"lexicon: there is no file none"),
        ({"evaluation.words.language_model": "cmudict"}, r"model: there is no file cmudict"),
        ({"evaluation.words.lm_weight": -1}, r"lm_weight: must be at least 0"),
        ({"evaluation.words.ngram_order": 1}, r"ngram_order: must be at least 2"),
        ({"evaluation.words.ngram_order": 7}, r"ngram_order: must be at most 6"),
        ({"evaluation.words.beam": 7}, r"did you mean 'evaluation\.words\.beam_width'"),
    ],
)
def test_what_cannot_be_decoded_is_refused_before_training(
    beam: dict[str, Any], changes: dict[str, Any], what: str
) -> None:
    with pytest.raises(ConfigError, match=what):
        made({**beam, **changes})


def test_recordings_without_sentences_are_refused_before_training(
    dataset: Dataset, beam: dict[str, Any], tmp_path: Path
) -> None:
    with pytest.raises(DataError, match="no validation trial says its sentence"):
        trained(made(beam), replace(dataset, path=tmp_path / "store"))


def test_without_words_the_keys_have_no_effect_on_the_identity(beam: dict[str, Any]) -> None:
    plain = override(DecoderConfig(), SMALL, "test")
    off = {**beam, "evaluation.words.decoder": "none"}
    for changes in (off, {**off, **STATED, "evaluation.words.every": 3}):
        config = override(plain, changes, "test")
        assert identity(config) == identity(plain) and word_files(config) == {}
        assert with_word_hashes(config, Path("nowhere")) is config


def test_weights_without_a_language_model_are_not_tuned() -> None:
    words = {"evaluation.words.word_score": 0, "evaluation.words.blank_penalty": 1}
    config = override(DecoderConfig(), {"evaluation.words.decoder": "beam", **words}, "test")
    assert settings_of(config.evaluation.words)[1:4] == (0.0, 0.0, 1.0)
    assert not settings_of(config.evaluation.words).is_tuned


def test_a_run_without_words_loads_nothing_that_decodes_to_words() -> None:
    lines = (
        "import sys, decoder.train, decoder.word_evaluation",
        "print([n for n in sys.modules if n.startswith(('flashlight', 'nltk', 'decoder.words'))])",
    )
    done = subprocess.run(
        [sys.executable, "-c", "\n".join(lines)], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


def test_a_run_whose_posteriors_are_not_finite_has_no_words(
    recordings: Dataset, beam: dict[str, Any]
) -> None:
    from decoder.word_evaluation import PackWords

    pack = made(beam)
    words = PackWords(pack.runs, recordings)
    bad = {0: np.full((5, 41), np.nan, np.float32)}
    found = words.evaluate(pack.runs[0], bad, {})
    assert found.facts == {} and all(math.isnan(value) for value in found.columns.values())
