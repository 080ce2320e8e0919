"""Which settings of foreign runs count, and how two runs differ in those that do.

Settings that cannot change a result (folders, devices, logging) do not count; nor do those that
have no effect at the value of another. What always changes together by its nature, such as the
two learning rates of the T15 trainer, counts as one thing.
"""

import functools
import json
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from decoder.config import DecoderConfig, config_paths, flatten, identity, override, resolve
from decoder.import_tables import squeeze
from orchestrator.history.reading.record import ForeignRun
from orchestrator.history.reading.settings import seed_keys

DATA = "data"  # stands for the recordings, told by the last part of their path

# Names (squeezed, last part of a dotted one) of settings that cannot change a result, in the
# spellings of both official trainers and of common frameworks.
_NEUTRAL_NAMES = frozenset(
    squeeze(name)
    for name in (
        *(
            "output_dir",
            "outputDir",
            "out_dir",
            "checkpoint_dir",
            "ckpt_dir",
            "save_dir",
            "log_dir",
        ),
        *("results_dir", "work_dir", "run_dir", "exp_dir", "root_dir", "base_dir", "cache_dir"),
        *("model_dir", "model_path", "logdir", "tensorboard_dir", "checkpoint_path", "save_path"),
        *("default_root_dir", "dirpath", "scratch_dir", "tmp_dir", "ausgabe"),
        *("gpu_number", "gpu", "gpus", "gpu_id", "gpu_ids", "device", "devices", "cuda", "use_gpu"),
        *("accelerator", "local_rank", "world_size", "num_workers", "num_dataloader_workers"),
        *("n_workers", "workers", "pin_memory", "prefetch_factor", "persistent_workers"),
        *("n_threads", "num_threads", "batches_per_train_log", "batches_per_save", "verbose"),
        *("log_interval", "log_every", "log_freq", "log_steps", "logging_steps", "log_level"),
        *("log_every_n_steps", "print_every", "print_freq", "print_interval", "report_every"),
        *("log_individual_day_val_PER", "log_val_skip_logs", "progress_bar", "run_name"),
        *("exp_name", "experiment_name", "run_id", "project", "entity", "tags", "comment"),
        *("comments", "description", "author", "username", "hostname", "timestamp"),
        *("created_at", "start_time", "job_id", "slurm_job_id", "use_wandb", "use_tensorboard"),
        *("success_criteria", "version_note"),
    )
)
# Names that say so little that they are neutral at the top level alone: `optimizer.name` counts.
_NEUTRAL_ON_TOP = frozenset(
    squeeze(name)
    for name in (
        *("name", "title", "experiment", "group", "notes", "note", "desc", "user", "host", "date"),
        *("time", "created", "purpose", "changes", "cmd", "command", "cwd", "python", "mode"),
        *("slurm", "tensorboard", "dry_run"),
    )
)
_FEWEST_LABELLED = 4  # runs from which on a text that is another one in each is a label
_NO_LABEL = re.compile(r"commit|version|sha|git|init|pretrain|resume|load", re.IGNORECASE)
_NEUTRAL = re.compile(
    r"(^|\.)(wandb|hydra|logging|logger|slurm|tensorboard)(\.|_|$)|(^|\.)(save|plot|print)_\w+$",
    re.IGNORECASE,
)
_DATA_NAMES = frozenset(
    squeeze(name)
    for name in ("dataset_dir", "datasetPath", "data_dir", "data_path", "dataset", "data_root")
)
_MEASURING = ("train.eval_every_steps",)
_OFF = (None, False, "", "none", "None", "null")

# What changes together where every member has the first one's value, before and after.
_TOGETHER = (
    ("train.n_steps", "optim.lr_decay_steps", "optim.lr_decay_steps_day"),
    ("optim.lr_max", "optim.lr_max_day", "optim.lr_min", "optim.lr_min_day"),
    ("optim.lr_min", "optim.lr_min_day"),
    ("optim.lr_warmup_steps", "optim.lr_warmup_steps_day"),
    ("optim.lr_decay_steps", "optim.lr_decay_steps_day"),
    ("optim.weight_decay", "optim.weight_decay_day", "optim.weight_decay_bias"),
    ("optim.schedule", "optim.schedule_day"),
)


class Change(NamedTuple):
    """One thing that differs from one run to another.

    Attributes:
        key: config path, or the setting's own name where it has none here.
        name: as the runs' own settings call it.
        before, after: its values; None also where a run does not set it.
        paths: every config path that changes with it; empty where it has none here.
        stated: of each run, whether its file says so; else the official value stands in.
    """

    key: str
    name: str
    before: Any
    after: Any
    paths: tuple[str, ...]
    stated: tuple[bool, bool]


class Counted(NamedTuple):
    """The settings of a run that count.

    Attributes:
        values: config path or own name → value; what has no effect is left out.
        whole: the same, and what has no effect.
        kind: the codebase, "" where the settings are nobody's we know.
        names: config path → what the run's own settings call it.
        taken: config paths that the official trainer says, not the settings.
    """

    values: Mapping[str, Any]
    whole: Mapping[str, Any]
    kind: str
    names: Mapping[str, str]
    taken: frozenset[str]

    @property
    def signature(self) -> str:
        """Equal for runs of one configuration."""
        return json.dumps([self.kind, self.values], sort_keys=True, default=str)


def is_neutral(key: str) -> bool:
    """Whether a setting cannot change a result, by its name."""
    squeezed = squeeze(key.rpartition(".")[2])
    on_top = "." not in key and squeezed in _NEUTRAL_ON_TOP
    return on_top or squeezed in _NEUTRAL_NAMES or bool(_NEUTRAL.search(key))


def label_keys(runs: Sequence[ForeignRun]) -> frozenset[str]:
    """Settings that merely name a run: a text, and another one in every run that has it."""
    values: dict[str, list[Any]] = {}
    for run in runs:
        for key, value in run.settings.items():
            if key not in run.mapped.fields and not _NO_LABEL.search(key):
                values.setdefault(key, []).append(value)
    return frozenset(
        key
        for key, found in values.items()
        if len(found) >= _FEWEST_LABELLED
        and all(isinstance(value, str) for value in found)
        and len(set(found)) == len(found)
    )


def counted(run: ForeignRun, labels: frozenset[str] = frozenset()) -> Counted:
    """The settings of a run that count.

    Args:
        run: the run.
        labels: settings that merely name the runs of its group, see `label_keys`.
    """
    mapped, seeds = run.mapped, {*seed_keys(run.settings), *data_seed_keys(run.settings)}
    values: dict[str, Any] = {}
    for key, value in run.settings.items():
        if squeeze(key.rpartition(".")[2]) in _DATA_NAMES and isinstance(value, str):
            values[DATA] = re.split(r"[/\\]", value.rstrip("/\\"))[-1]
        elif (
            key not in mapped.fields
            and key not in mapped.without_effect
            and key not in seeds
            and not is_neutral(key)
            and key not in labels
            and value not in _OFF
        ):
            values[key] = _plain(value)
    names: dict[str, str] = {}
    for key, paths in sorted(mapped.fields.items(), key=lambda item: len(item[1])):
        for path in paths:
            names.setdefault(path, key)
    acting, whole = (
        _acting(json.dumps(mapped.config, sort_keys=True)) if mapped.config else ({}, {})
    )
    return Counted(
        {**acting, **values},
        {**whole, **values},
        mapped.codebase,
        names,
        frozenset(mapped.taken),
    )


def data_seed_keys(settings: Mapping[str, Any]) -> list[str]:
    """Seeds of the order of the data alone, such as ``dataset.seed`` of the T15 trainer."""
    return [key for key in settings if re.fullmatch(r"(data\w*\.)(\w*\.)*\w*seed", key.lower())]


@functools.lru_cache(maxsize=4096)
def _acting(config: str) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    """What of a configuration acts, and all of it, resolved; without where it is and measured."""
    built = override(DecoderConfig(), json.loads(config), "imported settings")
    acting, whole = identity(built), flatten(resolve(built))
    skipped = (*_MEASURING, *(p for p, marks in config_paths().items() if marks.not_identity))
    return (
        {path: value for path, value in acting.items() if path not in skipped},
        {path: value for path, value in whole.items() if path not in skipped},
    )


def _plain(value: Any) -> Any:
    """Values that mean the same in one form: 1 and 1.0, "1e-3" and 0.001."""
    if isinstance(value, str):
        try:
            number = float(value)
        except ValueError:
            return value.strip()
        return number if math.isfinite(number) else value.strip()
    if isinstance(value, int | float) and not isinstance(value, bool):
        return float(value) if math.isfinite(value) else repr(value)
    return [_plain(inner) for inner in value] if isinstance(value, list) else value


def related(one: Counted, two: Counted) -> bool:
    """Whether two runs are of one line: one codebase, and half of their settings in common."""
    shared, either = one.whole.keys() & two.whole.keys(), one.whole.keys() | two.whole.keys()
    return one.kind == two.kind and 2 * len(shared) >= len(either)


def n_unequal(one: Counted, two: Counted) -> int:
    """How many values differ, before what belongs together is put together."""
    return sum(one.values.get(k) != two.values.get(k) for k in one.values.keys() | two.values)


def differing(one: Counted, two: Counted) -> tuple[Change, ...]:
    """Every thing that counts and differs from one run to another."""
    paths = config_paths()
    keys = [
        key
        for key in dict.fromkeys((*one.values, *two.values))
        if _value(one, key) != _value(two, key)
        and not (key in paths and _follows(key, one.whole, two.whole))
    ]
    changes, done = [], set[str]()
    for key in sorted(keys, key=lambda key: _rank(key, keys)):
        if key in done:
            continue
        together = _members(key, keys, one, two)
        done |= set(together)
        own = tuple(path for path in together if path in paths)
        followers = tuple(
            p for p in paths if p not in keys and own and _value(one, p) != _value(two, p)
            and any(_governs(g, p, one.whole, two.whole) for g in own)
        )  # fmt: skip
        changes.append(
            Change(
                key,
                two.names.get(key) or one.names.get(key) or key,
                _value(one, key),
                _value(two, key),
                own + followers,
                (key not in one.taken, key not in two.taken),
            )
        )
    return tuple(sorted(changes, key=lambda change: keys.index(change.key)))


def _value(of: Counted, key: str) -> Any:
    return of.whole.get(key)


def _rank(key: str, keys: Sequence[str]) -> tuple[int, int]:
    """Heads of groups before their members, so that a group is named after its head."""
    heads = [group[0] for group in _TOGETHER]
    return (heads.index(key) if key in heads else len(heads), keys.index(key))


def _members(key: str, keys: Sequence[str], one: Counted, two: Counted) -> tuple[str, ...]:
    """The key, and those that follow it by their nature in both runs."""
    found = [key]
    for group in _TOGETHER:
        if group[0] != key:
            continue
        for other in group[1:]:
            same = _value(one, other) == _value(one, key) and _value(two, other) == _value(two, key)
            if other in keys and same and other not in found:
                found.append(other)
    return tuple(found)


def _follows(path: str, one: Mapping[str, Any], two: Mapping[str, Any]) -> bool:
    """Whether a path differs only because the one that switches it on or off does."""
    marks = config_paths()[path]
    return any(_governs(g, path, one, two) for g in (*marks.idle_if, *marks.only_if))


def _governs(governor: str, path: str, one: Mapping[str, Any], two: Mapping[str, Any]) -> bool:
    """Whether `governor` leaves `path` without effect in exactly one of two configurations."""
    marks = config_paths()[path]
    idle = [one.get(governor), two.get(governor)]
    for values in (marks.idle_if.get(governor), marks.only_if.get(governor)):
        if values is not None and (idle[0] in values) != (idle[1] in values):
            return True
    return False
