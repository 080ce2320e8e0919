"""Which arm each arm is told from: the one it differs from in the fewest config paths."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from decoder.config import flatten
from orchestrator.spec.arms import Arm


def parents(arms: Sequence[Arm], first_levels: dict[str, str]) -> dict[str, str | None]:
    """Arm → its parent; None for the arm all others descend from.

    That root is the design's arm with every factor at its first level, or else the design's
    first arm. Every other arm of the design descends from the one that differs least among the
    root and the arms before it; an extra arm from the one that differs least among all of the
    design. Of several, the first counts.

    Args:
        arms: every arm, the design's first.
        first_levels: factor → its first level.
    """
    designed = [arm for arm in arms if arm.in_design]
    roots = [arm for arm in designed if dict(arm.levels) == first_levels] or designed[:1]
    if not roots:
        return dict.fromkeys((arm.arm_id for arm in arms), None)
    ordered = [roots[0], *(arm for arm in designed if arm is not roots[0])]
    ordered += [arm for arm in arms if not arm.in_design]
    codes = _codes(ordered)
    found: dict[str, str | None] = {roots[0].arm_id: None}
    for index, arm in enumerate(ordered[1:], 1):
        n_candidates = min(index, len(designed))
        n_different = (codes[:, :n_candidates] != codes[:, index, None]).sum(axis=0, dtype=np.uint8)
        found[arm.arm_id] = ordered[int(n_different.argmin())].arm_id
    return {arm.arm_id: found[arm.arm_id] for arm in arms}


def _codes(arms: Sequence[Arm]) -> np.ndarray[tuple[int, int], np.dtype[np.uint16]]:
    """One row a config path that any arm changes, one column an arm; equal values, equal codes."""
    paths = list(dict.fromkeys(path for arm in arms for path in arm.changes))
    known: dict[str, dict[Any, int]] = {path: {} for path in paths}
    common = {}
    for path in paths:  # what an arm has that leaves the path alone
        alone = next((arm for arm in arms if path not in arm.changes), arms[0])
        common[path] = flatten(alone.config)[path]
    rows = [
        [
            known[path].setdefault(_key(arm.changes.get(path, common[path])), len(known[path]))
            for path in paths
        ]
        for arm in arms
    ]
    return np.ascontiguousarray(np.array(rows, np.uint16).reshape(len(arms), len(paths)).T)


def _key(value: Any) -> Any:
    return repr(value) if isinstance(value, list | tuple) else value
