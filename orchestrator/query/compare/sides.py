"""The sides of a comparison: each is a set of arms with their runs, wherever they were read."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from pydantic import JsonValue

from decoder.collapse import CollapseThresholds
from orchestrator.tables.run_row import RunRow


class SideArm(NamedTuple):
    """The runs of one configuration.

    Attributes:
        name: of the arm on its side.
        levels: factor → level, if the arm belongs to a design.
        config: configuration path → value, as far as it is known.
        config_id: digest of the settings that can change a result; None where some are unknown.
        runs: its runs; those of a table or an import may lack most columns.
    """

    name: str
    levels: Mapping[str, str]
    config: Mapping[str, JsonValue]
    config_id: str | None
    runs: tuple[RunRow, ...]

    @property
    def known(self) -> dict[str, JsonValue]:
        """Every setting and level by name; a level wins over a setting of the same name."""
        return {**self.config, **self.levels}


class Side(NamedTuple):
    """One of the results that are compared.

    Attributes:
        label: the name the user gave.
        arms: its arms.
        thresholds: when its own report calls a run collapsed; None where that is not known.
        remarks: what a reader should know about how it was read.
    """

    label: str
    arms: tuple[SideArm, ...]
    thresholds: CollapseThresholds | None = None
    remarks: tuple[str, ...] = ()


def make_arm(name: str, levels: Mapping[str, str], runs: Sequence[RunRow]) -> SideArm:
    """An arm from its runs; its configuration holds the settings on which they agree."""
    recorded = [run for run in runs if run.config_id or run.settings]
    config = dict(recorded[0].settings) if recorded else {}
    for run in recorded[1:]:
        config = {path: v for path, v in config.items() if run.settings.get(path) == v}
    ids = {run.config_id for run in recorded}
    (config_id,) = ids if len(ids) == 1 else (None,)
    return SideArm(name, dict(levels), config, config_id, tuple(runs))
