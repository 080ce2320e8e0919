"""Weights that a run starts from: read from a file, checked, and put into the decoders of a pack.

Day layers are matched by the names of their sessions. Everything else must have the same names and
shapes in the file and in the configured decoder.
"""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from decoder.atomic import sha256_of
from decoder.config import DecoderConfig, canonical_json
from decoder.data.pronunciation import FILE_NAME as PRONUNCIATIONS_NAME
from decoder.data.shares import held_out_days
from decoder.data.store import Dataset
from decoder.entries import with_file
from decoder.errors import CheckpointError, ConfigError, DataError
from decoder.extensions import used_by
from decoder.foreign_config import read_foreign
from decoder.model.decoder import PackedDecoder
from decoder.pack import WEIGHTS_NAME, Run
from decoder.regular import sha256_of_file
from decoder.training_sections import START_KEY, TrainConfig
from decoder.weights import Weights, read_weights, weights_of

_T15_NAME, _T15_ARGUMENTS = "best_checkpoint", "args.yaml"  # as the official T15 trainer writes
_DAY_WEIGHTS, _DAY_BIASES = "day_layer.weights.", "day_layer.biases."


class Start(NamedTuple):
    """A file of weights to start from.

    Attributes:
        weights: its content.
        sessions: the names of its day layers, in their order; None if nothing names them.
    """

    weights: Weights
    sessions: tuple[str, ...] | None


class Days(NamedTuple):
    """Where the day layers of a run come from.

    Attributes:
        sources: for each session of the recordings, its day layer in the file; None for a new day.
        new: the sessions without one.
    """

    sources: tuple[int | None, ...]
    new: tuple[str, ...]


def start_file(text: str) -> Path:
    """The file that ``train.start_from`` names: itself, or the weights in the folder of a run.

    Raises:
        ConfigError: there is none.
    """
    path = Path(text).expanduser()
    if path.is_dir():
        inside = [path / name for name in (WEIGHTS_NAME, _T15_NAME) if (path / name).is_file()]
        if not inside:
            raise ConfigError(
                f"{START_KEY}: the folder {path} holds neither {WEIGHTS_NAME} nor {_T15_NAME}; a "
                "run keeps its weights with train.keep_weights final or best"
            )
        return inside[0]
    if not path.is_file():
        raise ConfigError(
            f"{START_KEY}: there is no file {path} (in {Path.cwd()}); give a T15 best_checkpoint, "
            f"T12 modelWeights, a {WEIGHTS_NAME} of ours, or the folder of a run that keeps one"
        )
    return path


def hashes_of(train: TrainConfig) -> dict[str, str]:
    """The digests of what a run starts from, for the identity of the run; empty without a start.

    The place of the file does not count, only its content and the names of its day layers.

    Raises:
        ConfigError: there is no such file, or it cannot be read.
    """
    if train.start_from is None:
        return {}
    return _hashes(train, start_file(train.start_from))


def _hashes(train: TrainConfig, path: Path) -> dict[str, str]:
    found = {START_KEY: sha256_of_file(path)}
    if train.start_sessions is None and (names := _sessions_beside(path)) is not None:
        found["train.start_sessions"] = sha256_of(canonical_json(list(names)).encode())
    return found


def with_start_hash(config: DecoderConfig) -> DecoderConfig:
    """The configuration with `hashes_of` its start among its files, which make a run's identity.

    Raises:
        ConfigError: see `hashes_of`.
    """
    for name, digest in hashes_of(config.train).items():
        config = with_file(config, name, digest)
    return config


def files_beside(path: Path) -> dict[str, Path]:
    """What another machine needs of a start file, or of a file that words are decoded with: a name
    that keeps its meaning → path.

    The first is the file of weights; the T15 trainer's arguments follow, which name its sessions.
    """
    if path.suffix == ".safetensors":
        return {WEIGHTS_NAME: path}
    if path.name == PRONUNCIATIONS_NAME:
        return {PRONUNCIATIONS_NAME: path}
    arguments = path.with_name(_T15_ARGUMENTS)
    beside = {_T15_ARGUMENTS: arguments} if arguments.is_file() else {}
    return {_T15_NAME: path, **beside}


def read_start(train: TrainConfig, path: Path | None = None) -> Start:
    """Read the file that a run starts from.

    Args:
        train: with ``start_from``.
        path: where the file lies; None takes ``start_from``.

    Raises:
        ConfigError: it is no file of weights; names its problem.
    """
    assert train.start_from is not None
    path = start_file(train.start_from) if path is None else path
    try:
        weights = read_weights(path)
    except (CheckpointError, ConfigError) as error:
        raise ConfigError([f"{START_KEY}: {problem}" for problem in error.problems]) from None
    sessions = train.start_sessions or weights.sessions or _sessions_beside(path)
    return Start(weights, sessions)


def match_days(
    start: Start, train: TrainConfig, sessions: Sequence[str], held_out: Collection[int] = ()
) -> Days:
    """Match the day layers of a file to the sessions of recordings, by name.

    Args:
        held_out: positions of sessions that need no layer, since they are lent one.

    Raises:
        ConfigError: nothing names the day layers of the file, or they are another number; no
            session of the recordings has one, or some have none, and ``train.start_new_days`` does
            not say what these start from.
    """
    where, n_days = f"{START_KEY}: {start.weights.path}", start.weights.n_days
    if not n_days:
        raise ConfigError(f"{where}: has no day layers, but model.day_layer is per_day")
    if start.sessions is None:
        raise ConfigError(
            f"{where}: does not name the sessions of its {n_days} day layers; list them, in the "
            f"order of the layers, as train.start_sessions, or put the {_T15_ARGUMENTS} of the T15 "
            "trainer beside it"
        )
    if len(start.sessions) != n_days:
        raise ConfigError(
            f"{where}: has {n_days} day layers, but {len(start.sessions)} sessions are named for "
            f"them ({_some(start.sessions)}); correct train.start_sessions, or the file's arguments"
        )
    known = {name: index for index, name in enumerate(start.sessions)}
    sources = tuple(known.get(name) for name in sessions)
    trained = [name for day, name in enumerate(sessions) if day not in held_out]
    new = tuple(name for name in trained if name not in known)
    if new and train.start_new_days is None:
        what = (
            f"no day in common: its day layers are those of {_some(start.sessions)}, the "
            f"recordings those of {_some(sessions)}"
            if len(new) == len(trained)
            else f"it has no day layer for {_some(new)}"
        )
        raise ConfigError(
            f"{where}: {what}; if this is meant, set train.start_new_days to mean or identity, "
            "which new days then start from"
        )
    return Days(sources, new)


def check_start(
    start: Start, config: DecoderConfig, n_features: int, n_classes: int, sessions: Sequence[str]
) -> Days | None:
    """Check that a run can start from a file.

    Args:
        config: of the run.
        n_features, n_classes, sessions: of its recordings.

    Returns:
        Where its day layers come from; None without day layers of its own for each day.

    Raises:
        ConfigError: what does not fit, in one message.
    """
    used = used_by([config])
    model = PackedDecoder(config.model, 1, 1, n_features, n_classes, seed=0, used=used)
    _check_shapes(start.weights, model, config, n_features, n_classes)
    if config.model.day_layer != "per_day":
        return None
    return match_days(start, config.train, sessions, held_out_days(sessions, config.data))


def seen_before(start: Start, config: DecoderConfig, sessions: Sequence[str]) -> tuple[str, ...]:
    """The sessions that a run holds out, but on which the weights that it starts from were trained.

    Args:
        config: of the run.
        sessions: of its recordings.

    Returns:
        Their names, as far as the file says what it was trained on.
    """
    names, own = start.sessions or (), start.weights.config
    apart = held_out_days(names, own.data) if own is not None and names else ()
    before = {name for day, name in enumerate(names) if day not in apart}
    return tuple(
        sessions[day]
        for day in sorted(held_out_days(sessions, config.data))
        if sessions[day] in before
    )


def start_runs(
    model: PackedDecoder,
    runs: Sequence[Run],
    dataset: Dataset,
    files: Mapping[str, Path] | None = None,
) -> None:
    """Put the weights that runs start from into their decoders, in place.

    Args:
        model: R decoders as initialised.
        runs: R runs; those without ``train.start_from`` keep their initial weights.
        dataset: the recordings that they train on.
        files: ``train.start_from`` → where the file lies on this machine, if elsewhere.

    Raises:
        ConfigError: a file does not fit, see `check_start`.
        DataError: a file is another than the one that was planned with.
    """
    known: dict[tuple[str, tuple[str, ...] | None], Start] = {}
    for row, run in enumerate(runs):
        train = run.config.train
        if train.start_from is None:
            continue
        key = (train.start_from, train.start_sessions)
        if key not in known:
            path = (files or {}).get(train.start_from) or start_file(train.start_from)
            _check_unchanged(run, path)
            known[key] = read_start(train, path)
        start = known[key]
        sizes = dataset.n_features, dataset.n_classes
        _check_shapes(start.weights, model, run.config, *sizes)
        own = weights_of(model, row)
        for name, value in _initial(start, run.config, dataset.sessions).items():
            own[name].copy_(value)


def _initial(start: Start, config: DecoderConfig, sessions: Sequence[str]) -> dict[str, Tensor]:
    """Parameter → value at the start, for the parameters that the file decides."""
    tensors, train = start.weights.tensors, config.train
    if config.model.day_layer != "per_day":
        return dict(tensors)
    found = {name: value for name, value in tensors.items() if not _of_day(name)}
    days = match_days(start, train, sessions, held_out_days(sessions, config.data))
    for stem in (_DAY_WEIGHTS, _DAY_BIASES):
        layers = [tensors[f"{stem}{index}"] for index in range(start.weights.n_days)]
        for day, source in enumerate(days.sources):
            if source is not None:
                found[f"{stem}{day}"] = layers[source]
            elif train.start_new_days == "mean":
                found[f"{stem}{day}"] = torch.stack(layers).double().mean(0).float()
    return found


def _check_shapes(
    weights: Weights,
    model: PackedDecoder,
    config: DecoderConfig,
    n_features: int,
    n_classes: int,
) -> None:
    """Refuse weights of another decoder, with the first difference."""
    where = f"{START_KEY}: {weights.path}"
    own = config.model
    architecture = weights.config.model.architecture if weights.config else "gru"
    if architecture != own.architecture and model.has_layers:
        raise ConfigError(
            f"{where}: is a decoder of another architecture ({architecture}), but "
            f"model.architecture is {own.architecture}"
        )
    head = weights.tensors.get("head.weight")
    if head is not None and head.dim() == 2 and len(head) != n_classes:
        raise ConfigError(
            f"{where}: tells {len(head)} classes apart (with the blank), but the recordings have "
            f"{n_classes}; its labels mean something else"
        )
    days = weights.tensors.get(f"{_DAY_WEIGHTS}0")
    if days is not None and days.dim() == 2 and days.shape[-1] != n_features:
        raise ConfigError(
            f"{where}: reads {days.shape[-1]} features of a bin, but the recordings have "
            f"{n_features}; choose the same with data.feature_subset"
        )
    expected = {
        name: tuple(value.shape)
        for name, value in weights_of(model, 0).items()
        if own.day_layer != "per_day" or not _of_day(name)
    }
    if own.day_layer == "per_day":
        every = range(weights.n_days)
        expected |= {f"{_DAY_WEIGHTS}{day}": (n_features, n_features) for day in every}
        expected |= {f"{_DAY_BIASES}{day}": (1, n_features) for day in every}
    got = {name: tuple(tensor.shape) for name, tensor in weights.tensors.items()}
    names = [*expected, *(name for name in got if name not in expected)]
    names.sort(key=lambda name: "." not in name)  # h0 says the least
    wrong = [name for name in names if got.get(name) != expected.get(name)]
    if wrong:
        first, n_more = wrong[0], len(wrong) - 1
        name = weights.names.get(first, first)
        what = (
            f"lacks '{name}' {expected[first]}"
            if first not in got
            else f"holds '{name}' {got[first]}, which the configured decoder does not have"
            if first not in expected
            else f"holds '{name}' with shape {got[first]}, but the configured decoder has "
            f"{expected[first]}"
        )
        more = f", and {n_more} more differ" if n_more else ""
        raise ConfigError(
            f"{where}: is a decoder of another shape: it {what}{more} (here model.n_units is "
            f"{own.n_units}, n_layers {own.n_layers}, patch_size {own.patch_size}, bidirectional "
            f"{str(own.bidirectional).lower()}, h0 {own.h0}, day_layer {own.day_layer}, and the "
            f"recordings have {n_features} features)"
        )
    broken = [name for name, value in weights.tensors.items() if not value.isfinite().all()]
    if broken:
        raise ConfigError(
            f"{where}: '{weights.names[broken[0]]}' holds values that are not finite; training "
            "from them would diverge"
        )


def _check_unchanged(run: Run, path: Path) -> None:
    planned = run.config.files
    for name, digest in _hashes(run.config.train, path).items():
        if planned.get(name, digest) != digest:
            raise DataError(
                f"{START_KEY}: {path}, or what names its sessions, has changed since the runs were "
                "planned; run the command again, so that they are planned with it"
            )


def _of_day(name: str) -> bool:
    return name.startswith((_DAY_WEIGHTS, _DAY_BIASES))


def _sessions_beside(path: Path) -> tuple[str, ...] | None:
    """The sessions in the arguments that the official T15 trainer writes beside a checkpoint."""
    arguments = path.with_name(_T15_ARGUMENTS)
    if path.suffix == ".safetensors" or not arguments.is_file():
        return None
    data = read_foreign(arguments, may_stay=lambda key: True).get("dataset")
    names = data.get("sessions") if isinstance(data, dict) else None
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        return None
    return tuple(names)


def _some(names: Sequence[str]) -> str:
    return f"{', '.join(names[:3])}{f', ... ({len(names)})' if len(names) > 3 else ''}"
