"""Translates the configuration files of both official trainers and of their forks into ours.

Nothing is dropped silently: the result lists the outcome of every key of the file, and every value
that the file leaves to the trainer's code.
"""

import fnmatch
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

from decoder.complaints import did_you_mean
from decoder.config import DecoderConfig, config_paths, override, parse_config
from decoder.errors import ConfigError
from decoder.foreign_config import read_foreign, without_wandb
from decoder.import_forks import FORKS, SWITCHES
from decoder.import_tables import (
    T12,
    T12_CONSTANTS,
    T12_OFFICIAL,
    T15,
    T15_CONSTANTS,
    T15_OFFICIAL,
    Effect,
    Flat,
    Outcome,
    Rule,
    not_validated,
    squeeze,
)

Codebase = Literal["t12", "t15", "ours"]


class _Trainer(NamedTuple):
    """An official trainer: rules for its keys, official values, and constants of its code."""

    rules: Mapping[str, Rule]
    official: Flat
    constants: Flat


_TRAINERS: dict[Codebase, _Trainer] = {
    "t15": _Trainer(T15, T15_OFFICIAL, T15_CONSTANTS),
    "t12": _Trainer(T12, T12_OFFICIAL, T12_CONSTANTS),
}


class Entry(NamedTuple):
    """The outcome of one key.

    Attributes:
        key: its dotted name in the file; empty for a constant of the trainer's code.
        value: its value.
        outcome: see `decoder.import_tables.Outcome`.
        fields: the fields of ours that it sets.
        note: a remark, or the nearest name of an unknown key.
    """

    key: str
    value: Any
    outcome: Outcome
    fields: Flat
    note: str


class Imported(NamedTuple):
    """A configuration file translated into ours.

    Attributes:
        codebase: the codebase of the file.
        config: our configuration with the same meaning.
        entries: the outcome of every key, in the order of the file; then constants.
        sessions: the file's sessions in day order; None if it names none.
        not_validated: sessions whose val trials the official T15 trainer skips.
    """

    codebase: Codebase
    config: DecoderConfig
    entries: tuple[Entry, ...]
    sessions: tuple[str, ...] | None
    not_validated: tuple[str, ...]

    def with_outcome(self, *outcomes: Outcome) -> list[Entry]:
        """The entries with one of these outcomes."""
        return [entry for entry in self.entries if entry.outcome in outcomes]


def import_file(
    path: Path | str,
    without: Sequence[str] = (),
    base: Sequence[Path | str] = (),
) -> Imported:
    """Read a configuration file of either official codebase, of a fork, or of ours.

    Args:
        path: YAML, JSON, TOML, or the T12 trainer's ``args``, a pickle of plain values.
        without: patterns of unsupported keys to leave out.
        base: files that `path` changes a part of, see `decoder.foreign_config.read_foreign`.

    Raises:
        ConfigError: the file cannot be read, is another kind of pickle, has no known keys, or has
            impossible values.
    """
    return import_mapping(without_wandb(read_foreign(path, base)), str(path), without)


def import_mapping(nested: Mapping[str, Any], where: str, without: Sequence[str] = ()) -> Imported:
    """Translate the mapping of a configuration file into our configuration.

    Args:
        nested: T12 ``args``, T15 ``rnn_args``, or sections of ours, as read from the file.
        where: the start of every error message, usually a file.
        without: patterns of unsupported keys to leave out.

    Raises:
        ConfigError: the file has no known keys, a value is impossible, or a pattern of `without`
            matches no unsupported key.
    """
    codebase = find_codebase(nested, where)
    if codebase == "ours":
        config = parse_config(nested, where)
        return Imported("ours", config, (), config.data.sessions, ())
    trainer = _TRAINERS[codebase]
    flat = dict(_leaves(nested, trainer.rules))
    whole = {**trainer.official, **flat}
    entries = [_read_key(key, value, whole, trainer, without) for key, value in flat.items()]
    _check_used(without, entries, where)
    in_file = {path for entry in entries for path in entry.fields}
    for key, value in trainer.official.items():
        if key not in flat:
            effect = trainer.rules[key](value, whole)
            if not in_file >= set(effect.fields):
                fields = {p: v for p, v in effect.fields.items() if p not in in_file}
                entries.append(Entry(key, value, "absent", fields, "the official value is used"))
    filled = {path for entry in entries for path in entry.fields}
    constants = [
        Entry("", value, "constant", {path: value}, "fixed in the trainer's code")
        for path, value in trainer.constants.items()
        if path not in filled
    ]
    config = _configure([*constants, *entries], where)
    sessions = flat.get("dataset.sessions")  # a list of names, or `_configure` had refused it
    return Imported(
        codebase,
        config,
        (*entries, *constants),
        None if sessions is None else tuple(sessions),
        tuple(not_validated(flat)),
    )


def find_codebase(nested: Mapping[str, Any], where: str) -> Codebase:
    """The codebase whose keys a configuration file has.

    Raises:
        ConfigError: the file has no key of either official trainer and no section of ours.
    """
    sections = set(DecoderConfig.model_fields)
    known = {key for key in config_paths() if isinstance(nested.get(key.split(".")[0]), dict)}
    ours = sum(name in nested[s] for s, name in (key.split(".") for key in known))
    n_known = {
        codebase: sum(key in trainer.rules for key, _ in _leaves(nested, trainer.rules))
        for codebase, trainer in _TRAINERS.items()
    }
    codebase = max(n_known, key=lambda name: n_known[name])
    if set(nested) <= sections and ours >= n_known[codebase]:
        return "ours"
    if not n_known[codebase]:
        raise ConfigError(
            f"{where}: has no key of the T15 rnn_args.yaml (such as num_training_batches) or the "
            "T12 args (such as nUnits), and is not a configuration of ours "
            f"(sections {', '.join(DecoderConfig.model_fields)})"
        )
    return codebase


def _leaves(
    nested: Mapping[str, Any], rules: Mapping[str, Rule], prefix: str = ""
) -> Iterator[tuple[str, Any]]:
    """Dotted keys and values; a mapping that a rule reads as one value stays whole."""
    for name, value in nested.items():
        key = f"{prefix}{name}"
        if isinstance(value, dict) and value and key not in rules and key != "hydra":
            yield from _leaves(value, rules, f"{key}.")
        else:
            yield key, value


def _read_key(
    key: str, value: Any, whole: Flat, trainer: _Trainer, without: Sequence[str]
) -> Entry:
    rule = trainer.rules.get(key) or _fork_rule(key)
    if key == "hydra":
        effect = Effect("no effect", {}, "only concerns folders and logs")
    elif rule is None:
        effect = Effect("unknown", {}, _nearest(key, trainer).removeprefix("; "))
    else:
        effect = rule(value, whole)
    if effect.outcome == "unsupported" and any(fnmatch.fnmatch(key, p) for p in without):
        effect = Effect("left out", {}, f"at your request, although {effect.note}")
    return Entry(key, value, *effect)


def _fork_rule(key: str) -> Rule | None:
    """The rule of a key that only forks have, found by the spelling of its last words."""
    names = key.split(".")
    for n in range(len(names), 0, -1):
        squeezed = squeeze("".join(names[-n:]))
        if squeezed in SWITCHES:
            return lambda value, _: Effect(
                "mapped",
                {} if value else SWITCHES[squeezed],
                "the other keys set the values" if value else "off",
            )
        if squeezed in FORKS:
            return FORKS[squeezed]
        own = [p for p in config_paths() if squeeze(p.partition(".")[2]) == squeezed]
        if len(own) == 1:
            return lambda value, _: Effect("mapped", {own[0]: value})
    return None


def _nearest(key: str, trainer: _Trainer) -> str:
    return did_you_mean(key, trainer.rules) or did_you_mean(
        key.rpartition(".")[2], [path.partition(".")[2] for path in config_paths()]
    )


def _check_used(without: Sequence[str], entries: Sequence[Entry], where: str) -> None:
    left_out = [entry.key for entry in entries if entry.outcome == "left out"]
    for pattern in without:
        if not any(fnmatch.fnmatch(key, pattern) for key in left_out):
            raise ConfigError(
                f"--without {pattern}: {where} has no unsupported key of that name; remove it"
            )


def _configure(entries: Sequence[Entry], where: str) -> DecoderConfig:
    """Our configuration; errors name the key that a value comes from. Switches off apply last."""
    source = {path: entry.key for entry in entries for path in entry.fields if entry.key}
    ordered = sorted(entries, key=lambda entry: entry.note == "off")
    changes = {path: value for entry in ordered for path, value in entry.fields.items()}
    try:
        return override(DecoderConfig(), changes, where)
    except ConfigError as error:
        raise ConfigError(
            [_with_key(problem, source, where) for problem in error.problems]
        ) from None


def _with_key(problem: str, source: Mapping[str, str], where: str) -> str:
    path = problem.removeprefix(f"{where}: ").partition(":")[0]
    return f"{problem} (set by {source[path]})" if path in source else problem
