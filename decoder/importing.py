"""Translates the configuration files of both official trainers and of their forks into ours.

Nothing is dropped silently: the result lists the outcome of every key of the file, and every value
that the file leaves to the trainer's code.
"""

import fnmatch
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

from decoder.complaints import yaml_text
from decoder.config import DecoderConfig, config_paths, override, parse_config
from decoder.errors import ConfigError
from decoder.field_paths import SECTIONS
from decoder.foreign_config import read_foreign, read_written, without_wandb
from decoder.import_conflicts import settle
from decoder.import_forks import switch_of
from decoder.import_helpers import named_by, taken_over
from decoder.import_keys import NO_PART, OFF, ON, fork_effect, off_keys
from decoder.import_tables import (
    T12,
    T15,
    Effect,
    Flat,
    Outcome,
    Rule,
    not_validated,
    squeeze,
)
from decoder.interpolation import has_interpolation
from decoder.neutral_settings import is_neutral
from decoder.official_values import (
    T12_CONSTANTS,
    T12_OFFICIAL,
    T15_CONSTANTS,
    T15_OFFICIAL,
)

Codebase = Literal["t12", "t15", "ours"]
NOT_FOLLOWED = "its value exists only while the trainer runs"  # begins a note of an `Entry`


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


def refusals(imported: Imported, without: str) -> list[str]:
    """What is unsupported, one sentence a key, or one for all keys of a block of another part.

    Args:
        imported: of `import_file` or `import_mapping`.
        without: how a key is left out, with ``{}`` for the key.
    """
    sentences, blocks = [], dict[str, list[str]]()
    for key, value, _, _, note in imported.with_outcome("unsupported"):
        if note.startswith(NO_PART):
            block = key[: key.index(part := note.split("'")[1]) + len(part)]
            blocks.setdefault(block, []).append(key.removeprefix(f"{block}."))
            continue
        shown = yaml_text(value)
        sentences.append(f"{key}: {shown} is not supported: {note}; {without.replace('{}', key)}")
    for block, names in blocks.items():
        every = without.replace("{}", f"'{block}.*'")
        sentences.append(f"{block}: {NO_PART} '{block}' ({', '.join(names)}); {every}")
    return sentences


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
    settings = read_foreign(path, base, may_stay=is_neutral)
    names = tuple(named_by(read_written(path, base)))
    return import_mapping(without_wandb(settings), str(path), without, names)


def import_mapping(
    nested: Mapping[str, Any],
    where: str,
    without: Sequence[str] = (),
    names: Sequence[tuple[str, str]] = (),
) -> Imported:
    """Translate the mapping of a configuration file into our configuration.

    Args:
        nested: T12 ``args``, T15 ``rnn_args``, or sections of ours, as read from the file.
        where: the start of every error message, usually a file.
        without: patterns of unsupported keys to leave out.
        names: pairs of a key and another one that takes its value by interpolation.

    Raises:
        ConfigError: the file has no known keys, a value is impossible, or a pattern of `without`
            matches no unsupported key.
    """
    codebase = find_codebase(nested, where)
    if codebase == "ours":
        if nested.get("extensions"):
            raise ConfigError(
                f"{where}: extensions: an import runs no files; remove them, and name them in the "
                "ablation that uses them"
            )
        config = parse_config(nested, where)
        return Imported("ours", config, (), config.data.sessions, ())
    trainer = _TRAINERS[codebase]
    flat = dict(_leaves(nested, trainer.rules))
    whole = {**trainer.official, **flat}
    off = off_keys(flat)
    effects = {k: _read_key(k, value, whole, trainer, flat, off) for k, value in flat.items()}
    effects = taken_over(effects, names)
    one_group = codebase == "t12" or not _has_day_keys(effects)
    if one_group:
        effects = {key: _for_all_groups(effect) for key, effect in effects.items()}
    settle(effects, flat, trainer.rules, without)
    said = {path for effect in effects.values() for path in effect.fields} | {
        path
        for key, value in trainer.official.items()
        for path in trainer.rules[key](value, whole).fields
    }
    effects = {key: _with_strength(key, effect, said) for key, effect in effects.items()}
    entries = [
        Entry(key, flat[key], *_left_out(key, effect, without)) for key, effect in effects.items()
    ]
    in_file = {path for entry in entries for path in entry.fields}
    for key, value in trainer.official.items():
        effect = trainer.rules[key](value, whole)
        if key in flat or in_file >= set(effect.fields):
            continue
        if one_group and key.endswith("_day") and _main_of(effect.fields) & in_file:
            continue  # the day layers follow the rest
        fields = {p: v for p, v in effect.fields.items() if p not in in_file}
        entries.append(Entry(key, value, "absent", fields, "the official value is used"))
    filled = {path for entry in entries for path in entry.fields}
    constants = [
        Entry("", value, "constant", {path: value}, "fixed in the trainer's code")
        for path, value in trainer.constants.items()
        if path not in filled
    ]
    _check_used(without, entries, where)
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
    ours = sum(_has(nested, key) for key in config_paths())
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
            f"(sections {', '.join(SECTIONS)})"
        )
    return codebase


def _has(nested: Mapping[str, Any], key: str) -> bool:
    """Whether a configuration file has a dotted key."""
    at: Any = nested
    for name in key.split("."):
        if not isinstance(at, dict) or name not in at:
            return False
        at = at[name]
    return True


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
    key: str, value: Any, whole: Flat, trainer: _Trainer, flat: Flat, off: Sequence[str]
) -> Effect:
    if key == "hydra":
        return Effect("no effect", {}, "only concerns folders and logs")
    if key == "defaults":
        note = "Hydra composes the file from others: give the config.yaml in .hydra of a run"
        return Effect("unsupported", {}, note)
    rule = trainer.rules.get(key)
    effect = rule(value, whole) if rule else fork_effect(key, value, flat, off, [*trainer.rules])
    if effect.fields and has_interpolation(value):
        note = f"{NOT_FOLLOWED}; write the value itself"
        return Effect("unsupported", {}, note)
    return effect


def _has_day_keys(effects: Mapping[str, Effect]) -> bool:
    """Whether a file has values of its own for the day layers."""
    return any(path.endswith("_day") for effect in effects.values() for path in effect.fields)


def _for_all_groups(effect: Effect) -> Effect:
    """The effect of a key of a trainer that has one group of parameters."""
    if "optim.weight_decay" not in effect.fields:
        return effect
    decay = effect.fields["optim.weight_decay"]
    groups = {f"optim.weight_decay{group}": decay for group in ("_day", "_bias")}
    return effect._replace(fields={**effect.fields, **groups})


def _main_of(fields: Flat) -> set[str]:
    """The fields of the rest of the model that fields of the day layers follow."""
    return {path.removesuffix("_day") for path in fields}


def _left_out(key: str, effect: Effect, without: Sequence[str]) -> Effect:
    if effect.outcome == "unsupported" and any(fnmatch.fnmatch(key, p) for p in without):
        return Effect("left out", {}, f"at your request, although {effect.note}")
    return effect


def _with_strength(key: str, effect: Effect, said: set[str]) -> Effect:
    """A switch that is on is refused if nothing says how strong what it turns on is.

    Args:
        said: the fields that the file sets, or the official trainer where the file is silent.
    """
    if effect.note != ON:
        return effect
    names = [squeeze(name) for name in key.split(".")]
    spelt = ["".join(names[-n:]).replace("masking", "mask") for n in (1, 2)]
    fields = next((found for name in spelt if (found := switch_of(name, True))), {})
    if said & set(fields) or "augment.smooth" in fields:
        return effect
    note = f"it is on, but no key says how strong: set {' or '.join(fields)}"
    return Effect("unsupported", {}, note)


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
    ordered = sorted(entries, key=lambda entry: entry.note == OFF)
    changes = {path: _whole(path, v) for entry in ordered for path, v in entry.fields.items()}
    try:
        return override(DecoderConfig(), changes, where)
    except ConfigError as error:
        raise ConfigError(
            [_with_key(problem, source, where) for problem in error.problems]
        ) from None


def _whole(path: str, value: Any) -> Any:
    """A count that a file writes as 2e3 or 2000.0, as a whole number."""
    is_whole = isinstance(value, float) and value.is_integer() and abs(value) < 1e15
    is_count = path.endswith(("_steps", "_steps_day")) or (
        isinstance(default := config_paths()[path].default, int) and not isinstance(default, bool)
    )
    return int(value) if is_whole and is_count else value


def _with_key(problem: str, source: Mapping[str, str], where: str) -> str:
    path = problem.removeprefix(f"{where}: ").partition(":")[0]
    return f"{problem} (set by {source[path]})" if path in source else problem
