"""How two decoder configurations differ, and the ablation that finds which difference matters."""

import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from decoder.atomic import write_atomically
from decoder.complaints import did_you_mean
from decoder.config import DecoderConfig, flatten, idle_paths, load_config, override, resolve
from decoder.errors import ConfigError
from decoder.strict_yaml import load_yaml
from orchestrator.plan.ablation_writer import (
    FactorChange,
    ablation_of,
    ablation_yaml,
    factor_names,
)
from orchestrator.spec.load import load_spec
from orchestrator.spec.schema import check_name

_MARGIN = 0.02  # of PER
_RECORDINGS = "data.path"


@dataclass(frozen=True)
class Configuration:
    """A decoder configuration and where it comes from.

    Attributes:
        label: as it was named.
        config: as written, before `decoder.config.resolve`.
        file: the decoder configuration that it is, or that it starts from.
        changes: config path → value, on top of that file.
    """

    label: str
    config: DecoderConfig
    file: Path
    changes: dict[str, Any]


@dataclass(frozen=True)
class Difference:
    """One parameter that two configurations set differently.

    Attributes:
        parameter: config path.
        a, b: its value in each.
        ratio: `b` over `a`; None where they are no numbers, or `a` is 0.
    """

    parameter: str
    a: Any
    b: Any
    ratio: float | None


def read_configuration(text: str) -> Configuration:
    """The configuration that a command line names.

    Args:
        text: a decoder configuration file, or ``SPEC.yaml:arm`` for an arm of an ablation.

    Raises:
        ConfigError: no such file or arm, or one that cannot be read.
    """
    file, colon, arm_id = text.rpartition(":")
    if colon and not Path(text).exists():
        return _read_arm(text, Path(file), arm_id)
    path = Path(text)
    if "factors" in load_yaml(path):
        arms = ", ".join(arm.arm_id for arm in load_spec(path).arms[:8])
        raise ConfigError(
            f"{path}: is an ablation and holds many configurations; name one of its arms, for "
            f"instance '{path}:{arms.split(',')[0]}' (there are: {arms}, ...)"
        )
    return Configuration(text, load_config(path), path, {})


def _read_arm(text: str, path: Path, arm_id: str) -> Configuration:
    loaded = load_spec(path)
    found = {arm.arm_id: arm for arm in loaded.arms}
    if arm_id not in found:
        hint = did_you_mean(arm_id, found) or f" (there are: {', '.join(list(found)[:8])})"
        raise ConfigError(f"{path}: '{arm_id}' is no arm of it{hint}")
    config = found[arm_id].config
    own, base = flatten(config), flatten(loaded.base)
    changes = {name: value for name, value in own.items() if value != base[name]}
    return Configuration(text, config, path.parent / loaded.spec.base, changes)


def find_differences(one: DecoderConfig, two: DecoderConfig) -> tuple[Difference, ...]:
    """Every parameter whose change leads from `one` to `two`, in the order of the configuration.

    A default that one of them writes out is no difference, and a value that follows another
    parameter is none either.
    """
    a, b = flatten(one), flatten(two)
    filled_a, filled_b = flatten(resolve(one)), flatten(resolve(two))
    written = [path for path in a if a[path] != b[path]]
    chosen = [path for path in written if filled_a[path] != filled_b[path]]
    reached = override(one, {path: b[path] for path in chosen}, "")
    if resolve(reached) != resolve(two):
        chosen = written
    return tuple(Difference(path, a[path], b[path], _ratio(a[path], b[path])) for path in chosen)


def differences_document(
    one: Configuration, two: Configuration, found: Sequence[Difference]
) -> dict[str, Any]:
    """The comparison as JSON."""
    return {
        "a": one.label,
        "b": two.label,
        "differences": [asdict(difference) for difference in found],
    }


def as_ablation(
    name: str, one: Configuration, two: Configuration, found: Sequence[Difference], folder: Path
) -> str:
    """The leave-one-out ablation of the differences, as YAML.

    One two-level factor a difference, one claim each that it raises PER while all the others
    are changed, and as many seeds as those claims need to be testable together, six at least.
    The recordings stay those of `one`. What has no effect beside the other changes is named and
    left as in `one`: taking it out would change nothing.

    Args:
        name: of the ablation.
        one, two: the configurations before and after.
        found: `find_differences` of them.
        folder: where the file will lie; its base is named from there.

    Raises:
        ConfigError: `name` is no name, or nothing differs but the recordings.
    """
    try:
        check_name(name)
    except ValueError as error:
        raise ConfigError(f"--as-ablation: {error}") from None
    changes = {d.parameter: d.b for d in found if d.parameter != _RECORDINGS}
    idle = idle_paths(override(one.config, changes, two.label)) & changes.keys()
    names = factor_names(difference.parameter for difference in found)
    factors = {
        names[path]: FactorChange(path, {path: difference.a}, {path: difference.b})
        for difference in found
        if (path := difference.parameter) in changes.keys() - idle
    }
    if not factors:
        raise ConfigError(
            f"{one.label} and {two.label} do not differ but for their recordings; there is "
            "nothing to leave out"
        )
    ablation = ablation_of(
        factors,
        name=name,
        question=f"Which of the differences between {one.label} and {two.label} changes PER?",
        base=os.path.relpath(one.file, folder),
        design="leave_one_out",
        margin=_MARGIN,
        common=one.changes,
    )
    head = (
        f"# Which of {len(factors)} differences between {one.label} and {two.label} matters?\n"
        "# Every one is taken out while the others stay: see `all` and `all-<factor>` in the "
        "report.\n"
    )
    if idle:
        left_out = ", ".join(sorted(idle))
        head += f"# Without effect beside the other changes, and so left out: {left_out}.\n"
    return head + ablation_yaml(ablation)


def write_ablation(path: Path, text: str) -> None:
    """Write the ablation to a file that does not exist yet, and check it.

    Raises:
        ConfigError: the file exists, or one of its arms cannot be; then no file is left.
        StorageError: it cannot be written.
    """
    if path.exists():
        raise ConfigError(f"--output: {path} exists already; choose another name or remove it")
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, text.encode())
    try:
        load_spec(path)
    except ConfigError:
        path.unlink()
        raise


def _ratio(a: Any, b: Any) -> float | None:
    numbers = [isinstance(value, int | float) and not isinstance(value, bool) for value in (a, b)]
    return b / a if all(numbers) and a else None
