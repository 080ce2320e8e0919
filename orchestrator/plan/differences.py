"""How two configurations differ, and the ablation that shows which differences matter."""

import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from decoder.config import DecoderConfig, idle_paths, load_config
from decoder.entries import unused_paths
from decoder.errors import ConfigError
from decoder.foreign_config import parse_foreign, without_wandb
from decoder.importing import Imported, find_codebase, import_file, refusals
from decoder.user_files import read_bounded
from orchestrator.plan.leave_one_out import TwoLevelFactor, ablation_text, leave_one_out_ablation
from orchestrator.spec.configuration import (
    NOT_SET,
    CommandConfig,
    as_written,
    flatten,
    identity,
    known_paths,
    override,
    resolve,
)
from orchestrator.spec.configuration import Configuration as AnyConfig
from orchestrator.spec.load import load_spec
from orchestrator.spec.names import check_name, hint, level_names, listed
from orchestrator.spec.schema import Changes

_RECORDINGS = "data.path"


@dataclass(frozen=True)
class Configuration:
    """A configuration and where it comes from.

    Attributes:
        label: its name on the command line.
        config: the configuration as written, before `decoder.config.resolve`.
        file: the file of the configuration, or of the one it starts from.
        changes: config path → value, on top of that file.
        is_ours: whether the file is one of this project; else it was translated.
    """

    label: str
    config: AnyConfig
    file: Path
    changes: Changes
    is_ours: bool = True


@dataclass(frozen=True)
class ConfigDifference:
    """One parameter that two configurations set differently.

    Attributes:
        parameter: config path.
        a, b: its value in each.
        ratio: `b` over `a`; None if one of them is not a number, or `a` is 0.
    """

    parameter: str
    a: Any
    b: Any
    ratio: float | None


def read_configuration(text: str) -> Configuration:
    """The configuration that a command line names.

    Args:
        text: a decoder configuration file, one of an official trainer or a fork, or
            ``SPEC.yaml:arm`` for an arm of an ablation.

    Raises:
        ConfigError: there is no such file or arm, or it cannot be read.
    """
    file, colon, arm_id = text.rpartition(":")
    if colon and not Path(text).exists():
        return _read_arm(text, Path(file), arm_id)
    path = Path(text)
    content = without_wandb(parse_foreign(read_bounded(path), text))
    if "factors" in content:
        arms = [arm.arm_id for arm in load_spec(path).arms]
        raise ConfigError(
            f"{path}: is an ablation, which has several configurations; name one of its arms, for "
            f"example '{path}:{arms[0]}' (allowed: {listed(arms)})"
        )
    try:
        is_ours = find_codebase(content, text) == "ours"
    except ConfigError:
        is_ours = True  # of no trainer: what is wrong with it as one of ours is said below
    if not is_ours:
        return _translated(text, path, import_file(path))
    return Configuration(text, load_config(path), path, {})


def _translated(text: str, path: Path, imported: Imported) -> Configuration:
    """A configuration of an official trainer or a fork."""
    leave_out = f"translate the file with `import-config {path} --without {{}}`, and compare that"
    if refused := refusals(imported, leave_out):
        raise ConfigError([f"{path}: {sentence}" for sentence in refused])
    return Configuration(text, imported.config, path, {}, is_ours=False)


def _read_arm(text: str, path: Path, arm_id: str) -> Configuration:
    loaded = load_spec(path)
    found = {arm.arm_id: arm for arm in loaded.arms}
    if arm_id not in found:
        raise ConfigError(f"{path}: '{arm_id}' is not an arm of this file{hint(arm_id, found)}")
    config = found[arm_id].config
    own, base = as_written(config), as_written(loaded.base)
    changes = {name: value for name, value in own.items() if value != base.get(name, NOT_SET)}
    if isinstance(config, CommandConfig):
        return Configuration(
            text, config, Path(config.trainer.cwd) / config.trainer.base, changes, is_ours=False
        )
    assert loaded.spec.base is not None
    return Configuration(text, config, path.parent / loaded.spec.base, changes)


def find_differences(one: AnyConfig, two: AnyConfig) -> tuple[ConfigDifference, ...]:
    """The parameters to change to get from `one` to `two`, in the order of the configuration.

    A default that only one of them writes out is not a difference. Neither is a value that
    follows another parameter, if that parameter leads to the same configuration. Of two trainers
    of the user's, all their settings are compared, and what else can change a result.

    Raises:
        ConfigError: one is of our decoder and the other of a trainer.
    """
    if isinstance(one, CommandConfig) and isinstance(two, CommandConfig):
        return _of_commands(one, two)
    if isinstance(one, CommandConfig) or isinstance(two, CommandConfig):
        raise ConfigError(
            "one configuration is of our decoder and the other of a trainer of your own, so they "
            "have no settings in common; name two arms of one kind, or translate the trainer's "
            "file with `import-config`"
        )
    a, b = flatten(one), flatten(two)
    of_parts = unused_paths(a, b)
    keys = [path for path in dict.fromkeys((*a, *b)) if path not in of_parts]
    written = [path for path in keys if a.get(path, NOT_SET) != b.get(path, NOT_SET)]
    if set(known_paths(one)) == set(known_paths(two)):
        filled_a, filled_b = flatten(resolve(one)), flatten(resolve(two))
        chosen = [path for path in written if filled_a.get(path) != filled_b.get(path)]
        changeable = {path: b[path] for path in chosen if path in known_paths(one)}
        reached = override(one, changeable, "")
        if resolve(reached) == resolve(two):
            written = chosen
    return tuple(
        ConfigDifference(path, *pair, _ratio(*pair))
        for path in written
        for pair in [(a.get(path, NOT_SET), b.get(path, NOT_SET))]
    )


def _of_commands(one: CommandConfig, two: CommandConfig) -> tuple[ConfigDifference, ...]:
    """The differences of what two trainers' runs depend on; settings that follow others last."""
    written = [flat | rest for flat, rest in map(_parts, (one, two))]
    filled = [flatten(config) for config in (one, two)]
    keys = dict.fromkeys((*written[0], *written[1]))
    differing = [p for p in keys if written[0].get(p, NOT_SET) != written[1].get(p, NOT_SET)]
    found = []
    for path in differing:
        a, b = (
            flat.get(path, rest.get(path, NOT_SET))
            for flat, rest in zip(filled, written, strict=True)
        )
        found.append(ConfigDifference(path, a, b, _ratio(a, b)))
    return tuple(found)


def _parts(config: CommandConfig) -> tuple[dict[str, Any], dict[str, Any]]:
    """The settings of a command as written, and what else can change its result."""
    rest = {p: v for p, v in identity(config).items() if p not in config.written}
    return as_written(config), {p: v for p, v in rest.items() if p not in config.settings}


def differences_document(
    one: Configuration, two: Configuration, found: Sequence[ConfigDifference]
) -> dict[str, Any]:
    """The comparison as JSON."""
    return {
        "a": one.label,
        "b": two.label,
        "differences": [asdict(difference) for difference in found],
    }


def as_ablation(
    name: str,
    one: Configuration,
    two: Configuration,
    found: Sequence[ConfigDifference],
    folder: Path,
) -> str:
    """The leave-one-out ablation of the differences, as YAML.

    Every difference is a factor with a claim that it raises PER while the other changes are
    made. The recordings stay those of `one`. A difference that has no effect beside the other
    changes stays as in `one` and is listed in a comment, since undoing it would change nothing.

    Args:
        found: the result of `find_differences`.
        folder: where the file will lie; the path of the base is relative to it.

    Raises:
        ConfigError: `name` is not valid, or nothing but the recordings differs.
    """
    try:
        check_name(name)
    except ValueError as error:
        raise ConfigError(f"--as-ablation: {error}") from None
    if isinstance(one.config, CommandConfig):
        raise ConfigError(
            f"{one.label}: --as-ablation starts from a configuration of our decoder; for a trainer "
            "of your own, write the differences as factors of a file with its 'trainer' and "
            "design: leave_one_out"
        )
    if not one.is_ours:
        raise ConfigError(
            f"{one.label}: an ablation starts from a configuration of this project; translate the "
            f"file with `import-config {one.label} --output FILE`, and give FILE"
        )
    changes = {d.parameter: d.b for d in found if d.parameter != _RECORDINGS}
    changed = override(one.config, changes, two.label)
    assert isinstance(changed, DecoderConfig)
    idle = idle_paths(changed) & changes.keys()
    factors = [
        TwoLevelFactor(d.parameter, level_names(d.a, d.b), {d.parameter: d.a}, {d.parameter: d.b})
        for d in found
        if d.parameter in changes.keys() - idle
    ]
    if not factors:
        raise ConfigError(
            f"{one.label} and {two.label}: differ in nothing but their recordings, so there is "
            "nothing to leave out; choose other configurations"
        )
    comments = [
        f"Which of {len(factors)} differences between {one.label} and {two.label} matter?",
        "Each is undone while the others stay: see `all` and `all-<factor>` in the report."
        if len(factors) > 1
        else "",
        f"Left out, since they have no effect beside the other changes: {', '.join(sorted(idle))}."
        if idle
        else "",
    ]
    spec = leave_one_out_ablation(
        name,
        f"Which of the differences between {one.label} and {two.label} change PER?",
        os.path.relpath(one.file, folder),
        factors,
        common=one.changes,
    )
    return ablation_text(spec, filter(None, comments))


def _ratio(a: Any, b: Any) -> float | None:
    numbers = [isinstance(value, int | float) and not isinstance(value, bool) for value in (a, b)]
    return b / a if all(numbers) and a else None
