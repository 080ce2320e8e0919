"""How the settings of two runs differ.

Settings that always change together, such as the two learning rates of the T15 trainer, are one
change.
"""

from typing import Any, NamedTuple

from decoder.config import config_paths
from orchestrator.history.audit.effective_settings import EffectiveSettings
from orchestrator.history.reading.record import Settings

# Settings that are one change with a first one if each has its value, before and after.
_TOGETHER = {
    "train.n_steps": ("optim.lr_decay_steps", "optim.lr_decay_steps_day"),
    "optim.lr_max": ("optim.lr_max_day", "optim.lr_min", "optim.lr_min_day"),
    "optim.lr_min": ("optim.lr_min_day",),
    "optim.lr_warmup_steps": ("optim.lr_warmup_steps_day",),
    "optim.lr_decay_steps": ("optim.lr_decay_steps_day",),
    "optim.weight_decay": ("optim.weight_decay_day", "optim.weight_decay_bias"),
    "optim.schedule": ("optim.schedule_day",),
}


class SettingChange(NamedTuple):
    """One setting that differs from one run to another.

    Attributes:
        key: config path, or the setting's own name if no config path fits.
        name: the setting's name in the runs' own settings.
        before, after: its values; None also if a run does not set it.
        paths: every config path that changes with it; empty if no config path fits.
        stated: for each run, whether its file states the value; else it is the official one.
    """

    key: str
    name: str
    before: Any
    after: Any
    paths: tuple[str, ...]
    stated: tuple[bool, bool]


def comparable_settings(one: EffectiveSettings, two: EffectiveSettings) -> bool:
    """Whether a comparison makes sense: one codebase, and half of the settings in common."""
    shared, either = one.whole.keys() & two.whole.keys(), one.whole.keys() | two.whole.keys()
    return one.kind == two.kind and 2 * len(shared) >= len(either)


def n_unequal(one: EffectiveSettings, two: EffectiveSettings) -> int:
    """How many values differ, before settings that change together are joined."""
    return sum(one.values.get(k) != two.values.get(k) for k in one.values.keys() | two.values)


def setting_changes(one: EffectiveSettings, two: EffectiveSettings) -> tuple[SettingChange, ...]:
    """Every change of a setting that counts, from one run to another."""
    paths, old, new = config_paths(), one.whole, two.whole
    keys = [
        key
        for key in dict.fromkeys((*one.values, *two.values))
        if old.get(key) != new.get(key) and not (key in paths and _governors(key, old, new))
    ]
    firsts = [key for key in _TOGETHER if key in keys]
    changes, done = [], set[str]()
    for key in dict.fromkeys((*firsts, *keys)):
        if key in done:
            continue
        values = old.get(key), new.get(key)
        together = [key] + [
            other
            for other in _TOGETHER.get(key, ())
            if other in keys and (old.get(other), new.get(other)) == values
        ]
        done |= set(together)
        own = tuple(path for path in together if path in paths)
        followers = tuple(
            path
            for path in paths
            if path not in keys
            and old.get(path) != new.get(path)
            and not _governors(path, old, new).isdisjoint(own)
        )
        changes.append(
            SettingChange(
                key,
                two.names.get(key) or one.names.get(key) or key,
                *values,
                own + followers,
                (key not in one.taken, key not in two.taken),
            )
        )
    return tuple(sorted(changes, key=lambda change: keys.index(change.key)))


def _governors(path: str, old: Settings, new: Settings) -> set[str]:
    """The settings that make `path` have no effect in exactly one of two configurations."""
    marks = config_paths()[path]
    return {
        governor
        for governor, values in (*marks.idle_if.items(), *marks.only_if.items())
        if (old.get(governor) in values) != (new.get(governor) in values)
    }
