"""Which settings of an imported run count: those that can change its result.

Folders, devices and logging do not count. Neither does a setting that has no effect because of
the value of another one.
"""

import functools
import json
import math
import re
from collections.abc import Sequence
from typing import Any, NamedTuple

from decoder.config import DecoderConfig, config_paths, flatten, identity, override, resolve
from decoder.import_tables import squeeze
from decoder.neutral_settings import is_neutral
from orchestrator.history.reading.columns import last_part
from orchestrator.history.reading.record import ImportedRun, Settings
from orchestrator.history.reading.settings import seed_keys

DATA = "data"  # the setting that names the recordings, by the last part of their path


def _squeezed(names: str) -> frozenset[str]:
    return frozenset(squeeze(name) for name in names.split())


_WORD = re.compile(r"(?<!\S)[^\W\d_]{2,}[,;:.!?]*(?!\S)")
_FEWEST_OF_PROSE = 4, 3  # parts between spaces, and words among them
_FEWEST_LABELLED = 4  # runs; with fewer, a text that differs in each may be a real setting
_NO_LABEL = re.compile(r"commit|version|sha|git|init|pretrain|resume|load", re.IGNORECASE)
_DATA_NAMES = _squeezed("dataset_dir datasetPath data_dir data_path dataset data_root")
_OFF = (None, False, "", "none", "None", "null")


class EffectiveSettings(NamedTuple):
    """The settings of a run that count.

    Attributes:
        values: config path or own name → value, without settings that have no effect.
        whole: the same, with settings that have no effect.
        kind: the codebase; "" if that is not known.
        names: config path → its name in the run's own settings.
        taken: config paths whose value is the official trainer's, because the settings are silent.
    """

    values: Settings
    whole: Settings
    kind: str
    names: dict[str, str]
    taken: frozenset[str]

    @property
    def signature(self) -> str:
        """A text that is equal for runs of one configuration."""
        return json.dumps([self.kind, self.values], sort_keys=True, default=str)


def label_keys(runs: Sequence[ImportedRun]) -> frozenset[str]:
    """Settings that only label or describe a run.

    That is a text that differs in every run that has it, or one of whole sentences.
    """
    values: dict[str, list[Any]] = {}
    for run in runs:
        for key, value in run.settings.items():
            if key not in run.mapped.fields and not _NO_LABEL.search(key):
                values.setdefault(key, []).append(value)
    return frozenset(
        key
        for key, of_runs in values.items()
        if all(isinstance(value, str) or value is None for value in of_runs)
        and (
            any(_is_prose(value) for value in of_runs if value)
            or (len(of_runs) >= _FEWEST_LABELLED and len({*of_runs} - {None}) == len(of_runs))
        )
    )


def _is_prose(text: str) -> bool:
    """Whether a text is a sentence that someone wrote about a run."""
    n_parts, n_words = _FEWEST_OF_PROSE
    return len(text.split()) >= n_parts and len(_WORD.findall(text)) >= n_words


def effective_settings(run: ImportedRun, labels: frozenset[str] = frozenset()) -> EffectiveSettings:
    """The settings of a run that count, without the `label_keys` of its group."""
    mapped = run.mapped
    ignored = {*mapped.fields, *mapped.without_effect, *all_seed_keys(run.settings), *labels}
    values: dict[str, Any] = {}
    for key, value in run.settings.items():
        if last_part(key) in _DATA_NAMES and isinstance(value, str):
            values[DATA] = re.split(r"[/\\]", value.rstrip("/\\"))[-1]
        elif key not in ignored and not is_neutral(key) and value not in _OFF:
            values[key] = _normalised(value)
    names: dict[str, str] = {}
    for key, paths in sorted(mapped.fields.items(), key=lambda item: len(item[1])):
        for path in paths:
            names.setdefault(path, key)
    acting, whole = (
        _acting(json.dumps(mapped.config, sort_keys=True)) if mapped.config else ({}, {})
    )
    return EffectiveSettings(
        {**acting, **values}, {**whole, **values}, mapped.codebase, names, frozenset(mapped.taken)
    )


def all_seed_keys(settings: Settings) -> set[str]:
    """Seeds of the run, and seeds of the order of the data (``dataset.seed`` of T15)."""
    of_data = re.compile(r"(data\w*\.)(\w*\.)*\w*seed")
    return {*seed_keys(settings), *(key for key in settings if of_data.fullmatch(key.lower()))}


@functools.lru_cache(maxsize=4096)
def _acting(config: str) -> tuple[Settings, Settings]:
    """The resolved values of a configuration that have an effect, and all of them.

    Left out are fields that cannot change a result and the interval of evaluations.
    """
    built = override(DecoderConfig(), json.loads(config), "imported settings")
    no_result = {path for path, marks in config_paths().items() if marks.not_identity}
    left_out = {*no_result, "train.eval_every_steps"}
    acting, whole = (
        {path: value for path, value in values.items() if path not in left_out}
        for values in (identity(built), flatten(resolve(built)))
    )
    return acting, whole


def _normalised(value: Any) -> Any:
    """Equal values in one form: 1 and 1.0, "1e-3" and 0.001."""
    if isinstance(value, list):
        return [_normalised(inner) for inner in value]
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return value
    try:
        number = float(value)
    except ValueError:
        number = math.nan
    return number if math.isfinite(number) else str(value).strip()
