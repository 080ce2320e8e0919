"""The files that runs start from or decode to words with; their hashes are part of the identity.

It loads torch only for configurations with ``train.start_from``.
"""

import functools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from decoder.config import DecoderConfig
from decoder.errors import ConfigError
from orchestrator.plan.recordings import Recordings
from orchestrator.spec.arms import Arm, of_arms
from orchestrator.spec.configuration import Configuration, pack_key

if TYPE_CHECKING:
    from decoder.start import Days


class _Answer(NamedTuple):
    """Where day layers come from, None without any; and the sessions held out but seen before."""

    days: "Days | None"
    seen: tuple[str, ...]


@dataclass(frozen=True)
class _Question:
    """Whether a run can start from a file; equal for runs with the same answer."""

    key: tuple[object, ...]
    config: DecoderConfig = field(compare=False)
    data: Recordings = field(compare=False)


def started(config: Configuration, data: Recordings) -> Configuration:
    """A configuration with the hashes of the files that it names: weights, and those of words.

    Raises:
        ConfigError: weights cannot be read, or do not fit the configured decoder or the recordings;
            or what decodes to words is missing.
    """
    if not isinstance(config, DecoderConfig):
        return config
    if config.evaluation.words.is_on:
        from decoder.word_files import with_word_hashes

        config = with_word_hashes(config, data.folder)
    if config.train.start_from is None:
        return config
    from decoder.start import with_start_hash

    found = with_start_hash(config)
    _answer(found, data)
    return found


def started_arms(
    path: Path, arms: Iterable[Arm], data: Mapping[str, Recordings]
) -> dict[str, Configuration]:
    """Arm id → its configuration as `started` gives it.

    Args:
        path: the file of the ablation, for messages.
        data: arm id → its recordings.

    Raises:
        ConfigError: each problem once, with the first arm that has it.
    """
    configs: dict[str, Configuration] = {}
    met: dict[str, list[str]] = {}
    for arm in arms:
        try:
            configs[arm.arm_id] = started(arm.config, data[arm.arm_id])
        except ConfigError as error:
            for problem in error.problems:
                met.setdefault(problem, []).append(arm.arm_id)
    if met:
        raise ConfigError([f"{path}: {text}" for text in of_arms(met)])
    return configs


def remarks_on_starts(runs: Iterable[tuple[Configuration, Recordings]]) -> list[str]:
    """What the user should know of the weights that runs start from: which days are new, and which
    days held out are not.

    Args:
        runs: configuration, as `started` gave it, and recordings.
    """
    texts: dict[str, None] = {}
    for config, data in runs:
        if not isinstance(config, DecoderConfig) or config.train.start_from is None:
            continue
        days, seen = _answer(config, data)
        if seen:
            shown = f"{', '.join(seen[:3])}{', ...' if len(seen) > 3 else ''}"
            texts[
                f"train.start_from: {config.train.start_from} was trained on {len(seen)} sessions "
                f"that are held out ({shown}), so the errors held out are not those of days that "
                "the decoder has not seen; start from weights that hold out the same sessions"
            ] = None
        if days is not None and days.new:
            shown = f"{', '.join(days.new[:3])}{', ...' if len(days.new) > 3 else ''}"
            texts[
                f"train.start_from: {config.train.start_from} has day layers for "
                f"{len(days.sources) - days.sources.count(None)} of {len(days.sources)} sessions; "
                f"the new ones ({shown}) start from the {config.train.start_new_days}"
            ] = None
    return list(texts)


def _answer(config: DecoderConfig, data: Recordings) -> _Answer:
    train, held_out = config.train, config.data.held_out_sessions
    of_file = (train.start_from, train.start_sessions, train.start_new_days, config.files)
    return _ask(_Question((*of_file, pack_key(config), held_out, data.fingerprint), config, data))


@functools.lru_cache(maxsize=256)
def _ask(question: _Question) -> _Answer:
    from decoder.start import check_start, read_start, seen_before

    config, data = question.config, question.data
    start = read_start(config.train)
    days = check_start(start, config, data.n_features, data.n_classes, data.sessions)
    return _Answer(days, seen_before(start, config, data.sessions))
