"""Decodes the evaluations of a pack to words, and counts the word errors of its runs.

What decodes is loaded only if a run asks for words. Trials are decoded on a thread of their own,
and the thread that waits for it shows signs of life, since a language model may take long.
"""

import functools
import math
import shutil
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import TimeoutError as NotYet
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from decoder.config import DecoderConfig
from decoder.data.alignment import check_sentences
from decoder.data.sentences import words_of_sentence
from decoder.data.shares import held_out_days
from decoder.data.store import Dataset
from decoder.errors import DataError
from decoder.life import show_sign
from decoder.pack import HELD_OUT_WORD_COLUMNS, WORD_COLUMNS, Run
from decoder.training_sections import PRONUNCIATIONS_KEY, WORD_FILE_KEYS, WordsConfig
from decoder.word_files import planned_files, source_of_store, word_files

if TYPE_CHECKING:
    from decoder.logits import KeptLogits
    from decoder.words.errors import WordErrors
    from decoder.words.evaluate import WordResources, WordResult, WordSettings
    from decoder.words.halves import Place

# Trial of the validation split → (P, C) float32 log-posteriors of its own patches.
LogProbs = Mapping[int, NDArray[np.float32]]

_COMMAND_SECONDS = 6 * 3600.0  # after which a command of the user's is ended
_SIGN_SECONDS = 5.0


class RunWords(NamedTuple):
    """The words of one evaluation of a run.

    Attributes:
        columns: `WORD_COLUMNS`, and with sessions held out `HELD_OUT_WORD_COLUMNS`.
        facts: what they were decoded with: the weights, how many trials chose them, and what
            identifies lexicon and language model.
    """

    columns: dict[str, float]
    facts: dict[str, str | int | float | None]


class PackWords:
    """Decodes to words what the runs of a pack give.

    Lexicon and language model are loaded now, so that what is wrong with them is known before the
    training, and once for all runs of a process that share them.

    Args:
        runs: all runs of the pack.
        dataset: its recordings.
        places: file as the configuration names it → where it lies on this machine, if elsewhere.

    Raises:
        DataError: no validation trial has a sentence; or a file is missing, has changed since the
            runs were planned, or cannot be used.
    """

    def __init__(
        self, runs: Sequence[Run], dataset: Dataset, places: Mapping[str, Path] | None = None
    ) -> None:
        self._dataset = dataset
        self._resources: dict[str, WordResources] = {}
        self._commands: dict[str, tuple[str, ...]] = {}
        for run in runs:
            words = run.config.evaluation.words
            if not words.is_on:
                continue
            check_sentences(dataset)
            show_sign()
            files = planned_files(run.config, dataset.path, places)
            if words.decoder == "beam":
                self._resources[run.run_id] = _resources_of(run.config, dataset, files)
            else:
                self._commands[run.run_id] = _command_of(run.config, dataset, files)

    def is_due(self, run: Run, step: int) -> bool:
        """Whether the evaluation at this step is decoded to words."""
        return run.config.evaluation.words.is_due(step, run.config.train)

    def evaluate(self, run: Run, validation: LogProbs, held_out: LogProbs) -> RunWords:
        """Decode one evaluation of a run. If a posterior is not a number, no column is known.

        Args:
            validation: of the trials that count in ``per``.
            held_out: of the trials of sessions held out; empty without any.

        Raises:
            DataError: a decoder of the user's fails.
        """
        every = (*validation.values(), *held_out.values())
        if any(np.isnan(one).any() for one in every):
            return RunWords(unknown_columns(run.config), {})
        with ThreadPoolExecutor(1, thread_name_prefix="words") as thread:
            working = thread.submit(self._evaluate, run, validation, held_out)
            while True:
                show_sign()
                try:
                    return working.result(_SIGN_SECONDS)
                except NotYet:
                    if working.done():  # by now, or the work itself took too long
                        return working.result()

    def _evaluate(self, run: Run, validation: LogProbs, held_out: LogProbs) -> RunWords:
        resources = self._resources.get(run.run_id)
        settings = settings_of(run.config.evaluation.words) if resources is not None else None
        result = self._decode(run, validation, settings)
        apart = None
        if run.config.data.held_out_sessions is not None:
            if settings is not None and result.weights is not None:
                settings = settings.stated(result.weights)
            apart = self._decode(run, held_out, settings)
        facts: dict[str, str | int | float | None] = {
            "decoder": run.config.evaluation.words.decoder,
            **(result.weights._asdict() if result.weights is not None else {}),
            "n_tuned": result.n_tuned,
            "n_reported": result.n_reported,
            "n_left_out": result.n_left_out,
            "grid_size": result.grid_size,
            **(resources.facts if resources is not None else {}),
        }
        return RunWords(_columns(result, apart), facts)

    def _decode(
        self, run: Run, log_probs: LogProbs, settings: "WordSettings | None"
    ) -> "WordResult":
        from decoder.words.command import decode_by_command
        from decoder.words.ensembles import places_of
        from decoder.words.evaluate import WordTrial, evaluate_sentences, evaluate_words

        recorded, places = self._dataset.val.sentences, places_of(self._dataset)
        assert recorded is not None
        trials = [
            WordTrial(log_probs[trial], recorded[trial], *places[trial])
            for trial in sorted(log_probs)
        ]
        if settings is not None:
            resources, halved = self._resources[run.run_id], _halved(self._dataset, run.config)
            return evaluate_words(trials, settings, resources, halved)
        sentences = decode_by_command(trials, self._commands[run.run_id], _COMMAND_SECONDS)
        return evaluate_sentences(trials, sentences)


def settings_of(words: WordsConfig) -> "WordSettings":
    """The settings of a configuration for the search; a weight that is to be tuned is None."""
    from decoder.words.evaluate import WordSettings

    def stated(value: float | str) -> float | None:
        return None if isinstance(value, str) else float(value)

    has_model = words.language_model != "none"
    return WordSettings(
        beam_width=words.beam_width,
        lm_weight=stated(words.lm_weight) if has_model else 0.0,
        word_score=stated(words.word_score),
        blank_penalty=stated(words.blank_penalty),
    )


def ensemble_errors(
    config: DecoderConfig, dataset: Dataset, members: Sequence["KeptLogits"]
) -> "WordErrors":
    """Word errors of the averaged log posteriors of runs, with the search of this project.

    Args:
        config: of one of the runs; all are decoded to words in the same way, by ``beam``.
        dataset: their recordings.
        members: their kept logits; their frames must align.

    Raises:
        DataError: as for `PackWords`.
    """
    from decoder.words.ensembles import averaged_trials, sentences_of
    from decoder.words.evaluate import evaluate_words

    check_sentences(dataset)
    files = planned_files(config, dataset.path)
    resources = _resources_of(config, dataset, files)
    trials = averaged_trials(members, sentences_of(dataset))
    settings, halved = settings_of(config.evaluation.words), _halved(dataset, config)
    return evaluate_words(trials, settings, resources, halved).errors


def _halved(dataset: Dataset, config: DecoderConfig) -> list["Place"]:
    """The trials that are split into halves: all with words, but those of sessions held out.

    Trials that CTC cannot align are among them. Which ones these are differs between arms with
    other patches, and the halves must not.
    """
    from decoder.words.ensembles import places_of

    val, apart = dataset.val, held_out_days(dataset.sessions, config.data)
    trials = zip(places_of(dataset), val.day.tolist(), val.sentences or (), strict=True)
    return [
        place for place, day, text in trials if day not in apart and words_of_sentence(text or "")
    ]


def unknown_columns(config: DecoderConfig) -> dict[str, float]:
    """The word columns of a row that is not decoded to words; none if the run never is."""
    if not config.evaluation.words.is_on:
        return {}
    apart = HELD_OUT_WORD_COLUMNS if config.data.held_out_sessions is not None else ()
    return dict.fromkeys((*WORD_COLUMNS, *apart), math.nan)


def _columns(result: "WordResult", apart: "WordResult | None") -> dict[str, float]:
    errors = result.errors
    columns = {
        "wer": errors.wer,
        "n_word_edits": errors.n_edits,
        "n_reference_words": errors.n_reference,
        "n_word_substitutions": errors.n_substitutions,
        "n_word_deletions": errors.n_deletions,
        "n_word_insertions": errors.n_insertions,
        "wer_oracle": errors.wer_oracle,
        "n_word_edits_oracle": errors.n_oracle,
        "out_of_vocabulary": errors.out_of_vocabulary,
    }
    if apart is not None:
        found = (apart.errors.wer, apart.errors.n_edits, apart.errors.n_reference)
        columns |= dict(zip(HELD_OUT_WORD_COLUMNS, found, strict=True))
    return columns


def _command_of(
    config: DecoderConfig, dataset: Dataset, files: Mapping[str, Path]
) -> tuple[str, ...]:
    """The words of a command, with its own files where they lie on this machine."""
    named = word_files(config, source_of_store(dataset.path))
    command = config.evaluation.words.command
    if shutil.which(files.get(named.get(command[0], ""), Path(command[0]).expanduser())) is None:
        raise DataError(
            f"evaluation.words.command: '{command[0]}' is no program that can be started here; "
            "install it on this machine, or give its path here"
        )
    return tuple(str(files.get(named.get(word, ""), word)) for word in command)


def _resources_of(
    config: DecoderConfig, dataset: Dataset, files: Mapping[str, Path]
) -> "WordResources":
    words, (lexicon, model) = config.evaluation.words, WORD_FILE_KEYS
    beside = files.get(PRONUNCIATIONS_KEY)
    source = source_of_store(dataset.path)
    return _load_once(
        dataset,
        str(files.get(lexicon, words.lexicon)),
        str(files.get(model, words.language_model)),
        words.ngram_order,
        beside.parent if beside is not None else Path(source) if source else None,
        tuple(sorted(held_out_days(dataset.sessions, config.data))),
        tuple(config.files.get(key, "") for key in (lexicon, model, PRONUNCIATIONS_KEY)),
    )


@functools.lru_cache(maxsize=4)
def _load_once(
    dataset: Dataset,
    lexicon: str,
    language_model: str,
    order: int,
    folder: Path | None,
    held_out: tuple[int, ...],
    hashes: tuple[str, ...],
) -> "WordResources":
    """Lexicon and language model, for all runs that name the same.

    Files of the same hashes are the same, and a store is opened once in a process.
    """
    from decoder.words.resources import load_resources

    train = dataset.train
    assert train.sentences is not None
    return load_resources(
        lexicon=lexicon,
        language_model=language_model,
        order=order,
        folder=folder,
        training=[
            text
            for text, day in zip(train.sentences, train.day.tolist(), strict=True)
            if day not in held_out
        ],
        datasets_dir=dataset.path.parent,
    )
