"""The functions for a notebook or script: open recordings, train one pack, evaluate weights.

Each function combines a few steps of the library. The package ``orchestrator`` adds what a sweep
needs, such as many packs, records and resuming.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from decoder.config import DecoderConfig, digest, flatten, override, paths_of, resolve, run_id
from decoder.data.files import Say, silent
from decoder.data.in_order import PredictSplit
from decoder.data.layouts import find_layout
from decoder.data.prepare import SYNTHETIC_PREFIX, find_source, prepare
from decoder.data.store import Dataset
from decoder.errors import ConfigError
from decoder.importing import Imported, import_file
from decoder.pack import Pack, Progress, Run, RunResult
from decoder.predict import Prediction, phonemes_of, predict
from decoder.scoring import Score, Split, score
from decoder.start import with_start_hash
from decoder.train import choose_device, train
from decoder.training_sections import WORDS_KEY
from decoder.weights import Weights
from decoder.word_files import with_word_hashes


def open_recordings(config: DecoderConfig, datasets_dir: Path | str, say: Say = silent) -> Dataset:
    """Open the recordings of a configuration; generate, validate and pack them first if needed.

    Args:
        config: ``data.path``, ``data.sessions`` and ``data.feature_subset`` are read, and whether
            runs are decoded to words.
        datasets_dir: keeps packed recordings and generated ones for the next call.
        say: receives one line about each slow step.

    Raises:
        ConfigError, DataError, StorageError: see `decoder.data.prepare.prepare`.
    """
    data = config.data
    return prepare(
        data.path,
        data.sessions,
        data.feature_subset,
        Path(datasets_dir),
        say,
        needs_sentences=config.evaluation.words.is_on,
    )


def train_pack(
    configs: Sequence[DecoderConfig],
    datasets_dir: Path | str,
    *,
    seed: int = 1,
    device: str | None = None,
    weights_dir: Path | str | None = None,
    on_progress: Callable[[Progress], object] | None = None,
) -> list[RunResult]:
    """Train some configurations together on one seed, to the end of their budgets.

    They see the same trials, noise and dropout masks, so their results form a paired comparison.

    Args:
        configs: at least one. They may differ in numbers such as learning rates, noise and dropout
            rates, but not in fields that decide the shape of tensors.
        datasets_dir: see `open_recordings`.
        seed: decides initial weights and all draws.
        device: a torch device; None takes the GPU if there is one.
        weights_dir: gets ``<run_id>/weights.safetensors`` of the configurations whose
            ``train.keep_weights`` asks for it, and ``logits.npz`` likewise; None keeps neither.
        on_progress: receives the events of `decoder.train.train`, one after each evaluation.

    Returns:
        One result for each configuration, in their order.

    Raises:
        ConfigError: the configurations cannot share a pack, or two are equal; no such device.
        DataError: the recordings cannot be trained on.
        StorageError: `datasets_dir` or `weights_dir` cannot be written.
    """
    _check_one_pack(configs)
    decoded = [config for config in configs if config.evaluation.words.is_on]
    dataset = open_recordings([*decoded, *configs][0], datasets_dir)
    resolved = [
        with_word_hashes(with_start_hash(resolve(config)), dataset.path) for config in configs
    ]
    runs = [Run(run_id(config, seed, dataset.fingerprint), config) for config in resolved]
    run_ids = [run.run_id for run in runs]
    if len(set(run_ids)) < len(run_ids):
        raise ConfigError(
            "configs: two of them give the same result, because they differ in no field with an "
            "effect; remove one of them"
        )
    pack = Pack(digest(sorted(run_ids))[:16], seed, tuple(runs))
    folder = None if weights_dir is None else Path(weights_dir)
    results: dict[str, RunResult] = {}
    for event in train(pack, dataset, device=device, weights_dir=folder):
        results |= {result.run_id: result for result in event.finished}
        if on_progress is not None:
            on_progress(event)
    return [results[run_id] for run_id in run_ids]


def evaluate_weights(
    weights: Weights,
    data: Path | str | None = None,
    *,
    config_file: Path | str | None = None,
    split: Split = "val",
    sessions: Sequence[str] | None = None,
    beam_width: int | None = None,
    device: str | None = None,
    datasets_dir: Path | str | None = None,
) -> Score:
    """The phoneme error rate of weights on recordings, in total and per session.

    Args:
        weights: from `decoder.weights.read_weights`.
        data: a folder in the T15 or T12 layout, or ``synthetic:NAME``; None takes ``data.path`` of
            the configuration.
        config_file: the configuration of weights that do not hold it: T15 ``args.yaml``, T12
            ``args``, or ours.
        split: of the recordings; ``val`` is the T12 release's ``test``.
        sessions: the sessions to score; None takes all.
        beam_width: of a prefix beam search in addition to greedy decoding; None for none.
        device: a torch device; None takes the GPU where there is one.
        datasets_dir: keeps generated recordings; needed only for ``synthetic:NAME``.

    Returns:
        The score; ``score.total.per`` is the phoneme error rate over all sessions.

    Raises:
        ConfigError: weights, configuration and sessions do not fit together; or `data` is a recipe
            and there is no `datasets_dir`.
        DataError: the recordings cannot be read or have other features.
    """
    imported = configuration_of(weights, config_file)
    return score(
        weights,
        imported.config,
        _folder_of(data, imported.config, datasets_dir),
        split,
        choose_device(device),
        sessions=imported.sessions or weights.sessions,
        only=sessions,
        passed_over=imported.not_validated if split == "val" else (),
        beam_width=beam_width,
    )


def predict_trials(
    weights: Weights,
    data: Path | str | None = None,
    *,
    config_file: Path | str | None = None,
    split: PredictSplit = "test",
    device: str | None = None,
    datasets_dir: Path | str | None = None,
    to_text: Callable[[NDArray[np.float32]], str] = phonemes_of,
    words: Mapping[str, Any] | None = None,
) -> list[Prediction]:
    """What weights decode of each trial, in the order of the competitions.

    Args:
        weights, data, config_file, device, datasets_dir: see `evaluate_weights`.
        split: ``test`` is the split without labels (the T12 release's ``competitionHoldOut``).
        to_text: (P, C) log posteriors of a trial → its text; the default gives phonemes.
        words: gives sentences instead, as ``evaluation.words`` of the configuration says with these
            fields changed, such as ``{"decoder": "beam"}``; ``{}`` changes none.

    Raises:
        ConfigError, DataError: see `decoder.predict.predict` and
            `decoder.predict_words.sentences_of`.
    """
    imported = configuration_of(weights, config_file)
    config, sessions = imported.config, imported.sessions or weights.sessions
    if words is not None:
        config = override(config, {f"{WORDS_KEY}.{key}": words[key] for key in words}, WORDS_KEY)
        from decoder.predict_words import check_asked, sentences_of

        check_asked(config, weights.path)
    folder = _folder_of(data, config, datasets_dir)
    predictions = predict(
        weights, config, folder, split, choose_device(device), sessions=sessions, to_text=to_text
    )
    if words is None:
        return predictions
    trials = [one.logits for one in predictions]
    names = sessions or find_layout(folder).reader.find_sessions(folder)
    texts = sentences_of(trials, config, folder, weights.path, names)
    return [one._replace(text=text) for one, text in zip(predictions, texts, strict=True)]


def _folder_of(
    data: Path | str | None, config: DecoderConfig, datasets_dir: Path | str | None
) -> Path:
    """The folder of the recordings that are named, or of those of the configuration."""
    path = str(data or config.data.path)
    if not path.startswith(SYNTHETIC_PREFIX):
        return Path(path).expanduser()
    if datasets_dir is not None:
        return find_source(path, None, None, Path(datasets_dir), silent).folder
    recipe = path.removeprefix(SYNTHETIC_PREFIX)
    origin = "" if data else "is not given, and data.path of the configuration is "
    raise ConfigError(
        f"--data: {origin}{path}, which is a recipe, not a folder; write its recordings with "
        f"`python -m orchestrator data make FOLDER --recipe {recipe}` and give that folder"
    )


def configuration_of(weights: Weights, config_file: Path | str | None) -> Imported:
    """The configuration in a file, or the one inside the weights where no file is given.

    Raises:
        ConfigError: there is neither, or the file cannot be read.
    """
    if config_file is not None:
        return import_file(Path(config_file))
    if weights.config is None:
        raise ConfigError(
            f"{weights.path}: does not hold the configuration it was trained with; give its "
            "args.yaml (T15) or args (T12) with --config"
        )
    return Imported("ours", weights.config, (), None, ())


def _check_one_pack(configs: Sequence[DecoderConfig]) -> None:
    """Refuse configurations that differ in a field that the runs of a pack share."""
    if not configs:
        raise ConfigError("configs: is empty; give at least one configuration")
    marks, first = paths_of(configs[0]), flatten(configs[0])
    different = [
        f"configs: {path} is {first.get(path)!r} and {value!r}, but the runs of a pack share it; "
        "train one pack for each value"
        for config in configs[1:]
        for path, value in flatten(config).items()
        if value != first.get(path) and not (path in marks and marks[path].per_run)
    ]
    if different:
        raise ConfigError(list(dict.fromkeys(different)))
