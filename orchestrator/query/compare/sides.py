"""What is compared: a side with its arms, each with its runs, wherever they were read from."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

from decoder.collapse import CollapseThresholds
from orchestrator.tables.run_columns import leader_of

Row = Mapping[str, Any]
Kind = Literal["ablation", "search", "runs", "table", "imported"]


class SideArm(NamedTuple):
    """The runs of one configuration.

    Attributes:
        name: what it is called there.
        levels: factor → level, where it is an arm of a design.
        config: configuration path → value, as far as it is known.
        config_id: digest of everything in the configuration that can change a result; None where
            not all of it is known.
        runs: rows as of `orchestrator.tables.index.store_row`; a table's rows may lack columns.
    """

    name: str
    levels: Mapping[str, str]
    config: Mapping[str, Any]
    config_id: str | None
    runs: tuple[Row, ...]


class Side(NamedTuple):
    """One of the things compared.

    Attributes:
        label: as it was named.
        kind: what it is.
        arms: its arms.
        thresholds: when its own report calls a run collapsed; None where that is not known.
        remarks: what a reader should know of how it was read.
    """

    label: str
    kind: Kind
    arms: tuple[SideArm, ...]
    thresholds: CollapseThresholds | None = None
    remarks: tuple[str, ...] = ()


def make_arm(name: str, levels: Mapping[str, str], runs: Sequence[Row]) -> SideArm:
    """An arm from its runs: its configuration is what they agree on.

    Args:
        name: of the arm.
        levels: factor → level.
        runs: one row a run.
    """
    recorded = [run for run in runs if run.get("config_id") or _config(run)]
    config = _config(recorded[0]) if recorded else {}
    for run in recorded[1:]:
        config = {path: v for path, v in config.items() if run.get(path) == v}
    ids = {run.get("config_id") for run in recorded}
    (config_id,) = ids if len(ids) == 1 else (None,)
    return SideArm(name, dict(levels), config, config_id, tuple(runs))


def varying_paths(configs: Sequence[Mapping[str, Any]]) -> list[str]:
    """Paths in which configurations differ, but for those that only repeat another."""
    paths = dict.fromkeys(path for config in configs for path in config)
    varying = [path for path in paths if any(c.get(path) != configs[0].get(path) for c in configs)]
    return [path for path in varying if not _repeats(path, configs)]


def _repeats(path: str, configs: Sequence[Mapping[str, Any]]) -> bool:
    leader = leader_of(path)
    return leader is not None and all(
        leader in config and config.get(path) == config[leader] for config in configs
    )


def _config(run: Row) -> dict[str, Any]:
    return {name: value for name, value in run.items() if "." in name}
