"""Sentences of trials without labels, decoded as ``evaluation.words`` of a configuration says."""

from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from decoder.config import DecoderConfig
from decoder.data.layouts import find_layout
from decoder.data.recordings import Problems
from decoder.data.shares import held_out_days
from decoder.errors import ConfigError, DataError
from decoder.logits import LogitTrial
from decoder.regular import read_json
from decoder.training_sections import WORDS_KEY
from decoder.word_evaluation import settings_of
from decoder.word_files import check_words
from decoder.words.beam import BeamSettings, WordDecoder
from decoder.words.command import decode_by_command
from decoder.words.evaluate import WordResources, WordTrial
from decoder.words.resources import OF_TRAINING, load_resources
from decoder.words.tuning import Weights

_COMMAND_SECONDS = 24 * 3600.0  # after which a command of the user's is ended
_RECORD_NAME = "record.json"  # beside the weights of a run
_SOURCES = ("lexicon_sha256", "language_model_sha256")


def sentences_of(
    trials: Sequence[LogitTrial],
    config: DecoderConfig,
    folder: Path,
    checkpoint: Path,
    sessions: Sequence[str],
) -> list[str]:
    """The sentence of each trial; empty for a trial without a patch.

    A weight that is to be tuned is the one that the run chose on its validation trials. It stands
    in the record beside the weights, with hashes of the lexicon and the language model, which must
    be the same here.

    Args:
        trials: with log-posteriors.
        config: with ``evaluation.words``.
        folder: the recordings; a lexicon or language model of ``train`` reads their sentences.
        checkpoint: the file of weights.
        sessions: which it was trained on, those held out included.

    Raises:
        ConfigError: see `check_asked`; or the record says another lexicon or language model.
        DataError: the lexicon or the language model cannot be used, a command of the user's fails,
            or a log-posterior is not a number.
    """
    words = config.evaluation.words
    if any(np.isnan(one.logits).any() for one in trials):
        raise DataError(f"{checkpoint}: gives posteriors that are not numbers; give other weights")
    if words.decoder == "command":
        given = [WordTrial(one.logits, None, *one[2:]) for one in trials]
        return decode_by_command(given, words.command, _COMMAND_SECONDS)
    weights = _weights(config, checkpoint)
    chosen = _chosen(checkpoint) if words.is_tuned else {}
    with TemporaryDirectory(prefix="words-") as scratch:
        resources = _resources(config, folder, sessions, Path(scratch))
        _check_sources(resources, chosen, checkpoint)
        decoder = WordDecoder(resources.space, BeamSettings(words.beam_width, *weights))
        return [
            " ".join(decoder.decode(one.logits)[0].words) if len(one.logits) else ""
            for one in trials
        ]


def check_asked(config: DecoderConfig, checkpoint: Path) -> None:
    """Refuse what `sentences_of` would refuse, before anything is decoded.

    Raises:
        ConfigError: the configuration decodes to no words, a file or package is missing, or a
            weight is to be tuned and no record says what the run chose.
    """
    if not config.evaluation.words.is_on:
        raise ConfigError(
            f"{WORDS_KEY}.decoder is 'none', so there are no sentences; give beam or command, on "
            f"the command line by --set {WORDS_KEY}.decoder=beam"
        )
    check_words(config)
    if config.evaluation.words.decoder == "beam":
        _weights(config, checkpoint)


def _weights(config: DecoderConfig, checkpoint: Path) -> Weights:
    """The weights of the search."""
    stated = settings_of(config.evaluation.words)._asdict()
    chosen = _chosen(checkpoint)
    return Weights(*(_stated(stated[name], name, chosen, checkpoint) for name in Weights._fields))


def _stated(value: float | None, name: str, chosen: dict[str, Any], checkpoint: Path) -> float:
    found = chosen.get(name) if value is None else value
    if isinstance(found, int | float):
        return float(found)
    raise ConfigError(
        f"{WORDS_KEY}.{name} is 'tune', but no {_RECORD_NAME} beside {checkpoint} says what the "
        f"run chose; give the weights of a run that was decoded to words, or --set "
        f"{WORDS_KEY}.{name}=NUMBER"
    )


def _chosen(checkpoint: Path) -> dict[str, Any]:
    """What the run chose, and from which sources; empty if no record says it."""
    folder = checkpoint if checkpoint.is_dir() else checkpoint.parent
    try:
        words = read_json(folder / _RECORD_NAME).get("words")
    except (OSError, AttributeError, ValueError):  # there is none, or it is damaged
        return {}
    return words if isinstance(words, dict) else {}


def _check_sources(resources: WordResources, chosen: dict[str, Any], checkpoint: Path) -> None:
    """Refuse weights that were chosen with another lexicon or language model."""
    for name in _SOURCES:
        if chosen and chosen.get(name) != resources.facts[name]:
            what = name.removesuffix("_sha256").replace("_", " ")
            raise ConfigError(
                f"{WORDS_KEY}: the {what} is not the one with which the run of {checkpoint} chose "
                f"its weights; give that one, or state {', '.join(Weights._fields)} by --set"
            )


def _resources(
    config: DecoderConfig, folder: Path, sessions: Sequence[str], scratch: Path
) -> WordResources:
    words = config.evaluation.words
    return load_resources(
        lexicon=words.lexicon,
        language_model=words.language_model,
        order=words.ngram_order,
        folder=folder,
        training=_training_sentences(config, folder, sessions),
        datasets_dir=scratch,
    )


def _training_sentences(
    config: DecoderConfig, folder: Path, sessions: Sequence[str]
) -> list[str | None]:
    """The sentences of the training trials, without those of sessions held out."""
    words = config.evaluation.words
    if words.lexicon not in (OF_TRAINING, "cmudict") and words.language_model != OF_TRAINING:
        return []
    apart = held_out_days(sessions, config.data)
    reader, problems = find_layout(folder).reader, Problems()
    found = reader.find_sessions(folder)
    names = [name for day, name in enumerate(sessions) if day not in apart and name in found]
    index = reader.read_index(folder, names, problems)
    problems.raise_if_any()
    return [trial.sentence for file in index.train for trial in file.trials]
