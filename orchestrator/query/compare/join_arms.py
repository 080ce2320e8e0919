"""Which arm of one side is compared with which arm of another."""

import math
from collections.abc import Callable, Hashable, Sequence
from typing import Literal, NamedTuple

from pydantic import JsonValue

from decoder.complaints import did_you_mean
from decoder.errors import ConfigError
from orchestrator.query.compare.sides import Side, SideArm
from orchestrator.spec.names import listed
from orchestrator.tables.run_row import varying_paths

JoinedBy = Literal["only arms", "configuration", "factors", "settings", "name", "columns", ""]
Key = Callable[[SideArm], Hashable]


class JoinedArms(NamedTuple):
    """Two arms that are compared, or one without a partner.

    Attributes:
        a, b: the arms; None where there is none.
        joined_by: what they agree in; empty for an arm without a partner.
        columns: the columns they were joined on.
    """

    a: SideArm | None
    b: SideArm | None
    joined_by: JoinedBy
    columns: tuple[str, ...] = ()


def join_arms(a: Side, b: Side, on: Sequence[str] = ()) -> list[JoinedArms]:
    """Pairs of arms in the order of `a`, then the arms without a partner.

    Without `on`, arms are joined that have the same configuration; then, of those left, arms that
    agree in every factor both sides have; then in every setting that both sides record and that
    varies on one of them; then in their names. If none of this joins any, and one side has a
    single arm, that arm is joined with every arm of the other side.

    Args:
        on: factors or configuration paths to join on instead.

    Raises:
        ConfigError: a side lacks a column of `on`, or several of its arms agree in all of them.
    """
    if on:
        return _join_on(a, b, on)
    if len(a.arms) == len(b.arms) == 1:
        return [JoinedArms(a.arms[0], b.arms[0], "only arms")]
    rest = _Unjoined(a.arms, b.arms)
    rest.join(lambda arm: (arm.config_id, arm.name) if arm.config_id else None, "configuration")
    rest.join(lambda arm: arm.config_id, "configuration", first_of_many=True)
    rest.join_by_columns(_shared_factors(rest), "factors")
    rest.join_by_columns(_shared_settings(rest), "settings")
    rest.join(lambda arm: arm.name or None, "name")
    if not rest.joined and 1 in (len(a.arms), len(b.arms)):
        return [JoinedArms(one, two, "only arms") for one in a.arms for two in b.arms]
    order = {id(arm): place for place, arm in enumerate(a.arms)}
    joined = sorted(rest.joined, key=lambda pair: order[id(pair.a)])
    joined += [JoinedArms(arm, None, "") for arm in rest.a]
    return joined + [JoinedArms(None, arm, "") for arm in rest.b]


class _Unjoined:
    """The arms without a partner so far, and the pairs that were made."""

    def __init__(self, a: Sequence[SideArm], b: Sequence[SideArm]) -> None:
        self.a, self.b = list(a), list(b)
        self.joined: list[JoinedArms] = []

    def join(
        self, key: Key, by: JoinedBy, columns: Sequence[str] = (), *, first_of_many: bool = False
    ) -> None:
        """Join the arms of equal key; a key that is not unique on its side joins none.

        Args:
            key: of an arm; None joins it with nothing.
            by, columns: what the arms agree in.
            first_of_many: join arms that share a key in order, instead of leaving them out.
        """
        of_a, of_b = _by_key(self.a, key), _by_key(self.b, key)
        done = set()
        for value, arms in of_a.items():
            others = of_b.get(value, [])
            if not others or (not first_of_many and max(len(arms), len(others)) > 1):
                continue
            for one, two in zip(arms, others, strict=False):
                self.joined.append(JoinedArms(one, two, by, tuple(columns)))
                done |= {id(one), id(two)}
        self.a = [arm for arm in self.a if id(arm) not in done]
        self.b = [arm for arm in self.b if id(arm) not in done]

    def join_by_columns(self, columns: Sequence[str], by: JoinedBy) -> None:
        """Join the arms that agree in all of these columns."""
        if columns:
            self.join(lambda arm: _settings_key(arm, columns), by, columns)


def _settings_key(arm: SideArm, paths: Sequence[str]) -> Hashable:
    """The values of an arm in these columns; equal numbers are equal however they are written."""
    known = arm.known
    return tuple(_comparable(known.get(path)) for path in paths)


def _by_key(arms: Sequence[SideArm], key: Key) -> dict[Hashable, list[SideArm]]:
    groups: dict[Hashable, list[SideArm]] = {}
    for arm in arms:
        value = key(arm)
        if value is not None:
            groups.setdefault(value, []).append(arm)
    return groups


def _shared_factors(rest: _Unjoined) -> list[str]:
    """Factors that every arm left over has."""
    arms = [*rest.a, *rest.b]
    if not rest.a or not rest.b:
        return []
    return [name for name in arms[0].levels if all(name in arm.levels for arm in arms)]


def _shared_settings(rest: _Unjoined) -> list[str]:
    """Settings that every arm left over records, and that vary on one side at least."""
    sides = [[arm.config for arm in arms] for arms in (rest.a, rest.b)]
    if not all(sides):
        return []
    shared = set.intersection(*(set(config) for configs in sides for config in configs))
    varying = dict.fromkeys(path for configs in sides for path in varying_paths(configs))
    return [path for path in varying if path in shared]


def _join_on(a: Side, b: Side, on: Sequence[str]) -> list[JoinedArms]:
    problems = [problem for side in (a, b) for problem in _lacking(side, on)]
    if problems:
        raise ConfigError(problems)
    groups = [_by_key(side.arms, lambda arm: _settings_key(arm, on)) for side in (a, b)]
    for side, group in zip((a, b), groups, strict=True):
        problems += [
            f"--on {','.join(on)}: in {side.label}, {len(arms)} arms agree in it "
            f"({', '.join(arm.name for arm in arms[:4])}); they differ in "
            f"{', '.join(varying_paths([arm.config for arm in arms])[:4]) or 'their names'}: "
            "add a column that distinguishes them"
            for arms in group.values()
            if len(arms) > 1
        ]
    if problems:
        raise ConfigError(problems)
    of_a, of_b = ({key: arms[0] for key, arms in group.items()} for group in groups)
    joined = [
        JoinedArms(arm, of_b.get(key), "columns" if key in of_b else "", tuple(on))
        for key, arm in of_a.items()
    ]
    return joined + [JoinedArms(None, arm, "") for key, arm in of_b.items() if key not in of_a]


def _lacking(side: Side, on: Sequence[str]) -> list[str]:
    known = dict.fromkeys(name for arm in side.arms for name in (*arm.levels, *arm.config))
    return [
        f"--on: {side.label} has no column '{name}'{did_you_mean(name, known)} "
        f"(there are: {listed(known)})"
        for name in on
        if name not in known
    ]


def _comparable(value: JsonValue) -> Hashable:
    if isinstance(value, str):
        try:
            number = float(value)
        except ValueError:
            return value.strip().lower()
        return number if math.isfinite(number) else value
    if isinstance(value, bool) or value is None:
        return str(value)
    return float(value) if isinstance(value, int | float) else repr(value)
