"""Which arm of one side answers to which arm of another."""

import math
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any, Literal, NamedTuple

from decoder.complaints import did_you_mean
from decoder.errors import ConfigError
from orchestrator.query.compare.sides import Side, SideArm, varying_paths

Way = Literal["only arms", "configuration", "factors", "settings", "name", "columns", ""]
Key = Callable[[SideArm], Hashable]


class Joined(NamedTuple):
    """Two arms that belong together, or one that nothing answers to.

    Attributes:
        a, b: the arms; None where there is none.
        way: what they agree in; empty for an arm alone.
        columns: the columns they were joined on.
    """

    a: SideArm | None
    b: SideArm | None
    way: Way
    columns: tuple[str, ...] = ()


def join(a: Side, b: Side, on: Sequence[str] = ()) -> list[Joined]:
    """Pairs of arms, in the order of `a`, then arms that only one side has.

    Without `on`, arms are joined that have the same configuration; of those left over, those that
    agree in all factors both sides have; then in all settings that both sides tell and that vary
    in one of them; then in their names. Where none of this finds a pair, a side's only arm answers
    to every arm of the other.

    Args:
        a, b: the sides.
        on: factors or configuration paths instead.

    Raises:
        ConfigError: a side lacks a column of `on`, or several of its arms agree in all of them.
    """
    if on:
        return _join_on(a, b, on)
    if len(a.arms) == len(b.arms) == 1:
        return [Joined(a.arms[0], b.arms[0], "only arms")]
    rest = _Rest(list(a.arms), list(b.arms), [])
    rest.match(lambda arm: (arm.config_id, arm.name) if arm.config_id else None, "configuration")
    rest.match(lambda arm: arm.config_id, "configuration", first_of_many=True)
    factors = _shared_factors(rest)
    if factors:
        rest.match(lambda arm: settings_key(arm, factors), "factors", factors)
    settings = _shared_settings(rest)
    if settings:
        rest.match(lambda arm: settings_key(arm, settings), "settings", settings)
    rest.match(lambda arm: arm.name or None, "name")
    if not rest.found and 1 in (len(a.arms), len(b.arms)):
        return [Joined(one, two, "only arms") for one in a.arms for two in b.arms]
    order = {id(arm): place for place, arm in enumerate(a.arms)}
    found = sorted(rest.found, key=lambda joined: order[id(joined.a)])
    found += [Joined(arm, None, "") for arm in rest.a]
    return found + [Joined(None, arm, "") for arm in rest.b]


class _Rest:
    """The arms not joined yet."""

    def __init__(self, a: list[SideArm], b: list[SideArm], found: list[Joined]) -> None:
        self.a, self.b, self.found = a, b, found

    def match(
        self, key: Key, way: Way, columns: Sequence[str] = (), *, first_of_many: bool = False
    ) -> None:
        """Join the arms whose key is the same, if no other arm of its side has it too."""
        of_a, of_b = _by_key(self.a, key), _by_key(self.b, key)
        done = set()
        for value, arms in of_a.items():
            others = of_b.get(value, [])
            if not others or (not first_of_many and max(len(arms), len(others)) > 1):
                continue
            for one, two in zip(arms, others, strict=False):
                self.found.append(Joined(one, two, way, tuple(columns)))
                done |= {id(one), id(two)}
        self.a = [arm for arm in self.a if id(arm) not in done]
        self.b = [arm for arm in self.b if id(arm) not in done]


def settings_key(arm: SideArm, paths: Sequence[str]) -> Hashable:
    """What an arm has under these names, so that equal numbers compare equal however written."""
    return tuple(_plain(_value(arm, path)) for path in paths)


def _by_key(arms: Sequence[SideArm], key: Key) -> dict[Hashable, list[SideArm]]:
    groups: dict[Hashable, list[SideArm]] = {}
    for arm in arms:
        value = key(arm)
        if value is not None:
            groups.setdefault(value, []).append(arm)
    return groups


def _shared_factors(rest: _Rest) -> list[str]:
    """Factors that every arm left over has."""
    arms = [*rest.a, *rest.b]
    if not rest.a or not rest.b:
        return []
    return [name for name in arms[0].levels if all(name in arm.levels for arm in arms)]


def _shared_settings(rest: _Rest) -> list[str]:
    """Settings that every arm left over tells, and that vary on one side at least."""
    sides = [[arm.config for arm in arms] for arms in (rest.a, rest.b)]
    if not all(sides):
        return []
    shared = set.intersection(*(set(config) for configs in sides for config in configs))
    varying = dict.fromkeys(path for configs in sides for path in varying_paths(configs))
    return [path for path in varying if path in shared]


def _join_on(a: Side, b: Side, on: Sequence[str]) -> list[Joined]:
    problems = [problem for side in (a, b) for problem in _lacking(side, on)]
    if problems:
        raise ConfigError(problems)
    groups = [_by_key(side.arms, lambda arm: settings_key(arm, on)) for side in (a, b)]
    for side, group in zip((a, b), groups, strict=True):
        problems += [
            f"--on {','.join(on)}: in {side.label} {len(arms)} arms agree in it "
            f"({', '.join(arm.name for arm in arms[:4])}); they differ in "
            f"{', '.join(varying_paths([arm.config for arm in arms])[:4]) or 'their names'}: "
            "add what tells them apart"
            for arms in group.values()
            if len(arms) > 1
        ]
    if problems:
        raise ConfigError(problems)
    of_a, of_b = ({key: arms[0] for key, arms in group.items()} for group in groups)
    found = [
        Joined(arm, of_b.get(key), "columns" if key in of_b else "", tuple(on))
        for key, arm in of_a.items()
    ]
    return found + [Joined(None, arm, "") for key, arm in of_b.items() if key not in of_a]


def _lacking(side: Side, on: Sequence[str]) -> list[str]:
    known = dict.fromkeys(n for arm in side.arms for n in (*arm.levels, *arm.config))
    return [
        f"--on: {side.label} has no column '{name}'{did_you_mean(name, known)} "
        f"(there are: {', '.join([*known][:12])}{', ...' if len(known) > 12 else ''})"
        for name in on
        if name not in known
    ]


def _value(arm: SideArm, name: str) -> Any:
    values: Mapping[str, Any] = {**arm.config, **arm.levels}
    return values.get(name)


def _plain(value: Any) -> Hashable:
    if isinstance(value, str):
        try:
            number = float(value)
        except ValueError:
            return value.strip().lower()
        return number if math.isfinite(number) else value
    if isinstance(value, bool) or value is None:
        return str(value)
    return float(value) if isinstance(value, int | float) else repr(value)
