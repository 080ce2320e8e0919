"""Which factor goes along x and which along y in a figure, for any number of factors."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from typing import NamedTuple

from orchestrator.plan.document import ArmEntry
from orchestrator.spec.load import AblationSpec, levels_of

EXTRA = "Extra arms"
GREEDY = "Arms of the greedy path"
OTHERS = "Other arms of the design"
_ONE = ("",)
_LIST = "arm"
_MOST_IN_LIST = 7  # more arms side by side have no room for their names


class Facet(NamedTuple):
    """One part of a figure: arms that differ in two factors at most.

    Attributes:
        title: the levels of the factors that are fixed here, one per line.
        x_factor: the factor along x, which learning curves show by colour; ``arm`` where arms
            are listed by name; "" for arms outside the design.
        x_levels: its levels.
        y_factor: the second factor; "" if there is none.
        y_levels: its levels; ``("",)`` if there is none.
        arms: (x level, y level) → arm id.
    """

    title: str
    x_factor: str
    x_levels: tuple[str, ...]
    y_factor: str
    y_levels: tuple[str, ...]
    arms: Mapping[tuple[str, str], str]

    @property
    def is_design(self) -> bool:
        return bool(self.x_factor)

    @property
    def x_label(self) -> str:
        """Label of the x axis; arms listed by name need none."""
        return "" if self.x_factor == _LIST else self.x_factor

    @property
    def own_title(self) -> str:
        """The title, or "" if the x axis has the same text."""
        return "" if self.title == self.x_factor else self.title

    @property
    def cells(self) -> Iterator[tuple[int, int, str]]:
        """(index of the x level, index of the y level, arm id) of every arm."""
        for (x, y), arm in self.arms.items():
            yield self.x_levels.index(x), self.y_levels.index(y), arm


def facets(spec: AblationSpec, arms: Sequence[ArmEntry]) -> list[Facet]:
    """Arrange the arms of a plan.

    A factorial design has its largest factor along x and its second largest along y, and one
    facet for each combination of the others. A one-factor design has one facet per factor. Other
    designs list their arms by name, a few per facet. Arms that fit nowhere, arms of a greedy
    path, and extra arms have their own facets.

    Args:
        spec: factors and design.
        arms: the plan's arms.
    """
    if spec.design == "factorial":
        found = list(_factorial(spec, arms))
    elif spec.design == "one_factor":
        found = list(_one(spec, arms))
    else:
        found = listed([arm.arm_id for arm in arms if arm.in_design])
    placed = {arm for facet in found for arm in facet.arms.values()}
    others = [a.arm_id for a in arms if a.in_design and a.arm_id not in placed]
    beside = [arm for arm in arms if not arm.in_design]
    greedy = [arm.arm_id for arm in beside if arm.candidate]
    extra = [arm.arm_id for arm in beside if not arm.candidate]
    for title, names in ((OTHERS, others), (GREEDY, greedy), (EXTRA, extra)):
        found += [f._replace(title=title, x_factor="") for f in listed(names)]
    return found


def curve_facets(spec: AblationSpec, arms: Sequence[ArmEntry]) -> list[Facet]:
    """Arrange the arms into panels of learning curves.

    As `facets`, but a leave-one-out design has one facet per change, with three arms: all
    changes, all but this one, and none.
    """
    found = facets(spec, arms)
    if spec.design != "leave_one_out":
        return found
    design = [arm for arm in arms if arm.in_design]
    n_second = [_n_second(spec, arm) for arm in design]
    whole = [a.arm_id for a, n in zip(design, n_second, strict=True) if n == len(spec.factors)]
    base = [a.arm_id for a, n in zip(design, n_second, strict=True) if n == 0]
    middle = [a.arm_id for a in design if a.arm_id not in (*whole, *base)]
    return [
        *(listed([*whole, arm, *base])[0] for arm in middle),
        *(facet for facet in found if not facet.is_design),
    ]


def listed(names: Sequence[str]) -> list[Facet]:
    """List arms by name, in facets of about equal size."""
    n_facets = -(-len(names) // _MOST_IN_LIST)
    ends = [len(names) * (index + 1) // n_facets for index in range(n_facets)]
    parts = [tuple(names[start:end]) for start, end in zip([0, *ends], ends, strict=False)]
    return [Facet("", _LIST, part, "", _ONE, {(name, ""): name for name in part}) for part in parts]


def _n_second(spec: AblationSpec, arm: ArmEntry) -> int:
    levels = levels_of(spec)
    return sum(level == levels[factor][1] for factor, level in arm.levels.items())


def _factorial(spec: AblationSpec, arms: Sequence[ArmEntry]) -> Iterator[Facet]:
    levels = levels_of(spec)
    by_size = sorted(levels, key=lambda factor: -len(levels[factor]))  # stable: file order
    x_factor, y_factor = by_size[0], by_size[1] if len(by_size) > 1 else ""
    fixed = [factor for factor in levels if factor not in (x_factor, y_factor)]
    by_levels = _by_levels(arms)
    y_levels = levels[y_factor] if y_factor else _ONE
    for cell in product(*(levels[factor] for factor in fixed)):
        chosen = dict(zip(fixed, cell, strict=True))
        arm_of = {}
        for x, y in product(levels[x_factor], y_levels):
            full = {**chosen, x_factor: x, **({y_factor: y} if y_factor else {})}
            if arm := by_levels.get(frozenset(full.items())):  # an excluded arm has none
                arm_of[x, y] = arm
        title = "\n".join(f"{factor} = {level}" for factor, level in chosen.items())
        if arm_of:
            yield Facet(title, x_factor, levels[x_factor], y_factor, y_levels, arm_of)


def _one(spec: AblationSpec, arms: Sequence[ArmEntry]) -> Iterator[Facet]:
    levels = levels_of(spec)
    base = {factor: names[0] for factor, names in levels.items()}
    by_levels = _by_levels(arms)
    for factor, names in levels.items():
        arm_of = {
            (name, ""): arm
            for name in names
            if (arm := by_levels.get(frozenset({**base, factor: name}.items())))
        }
        title = factor if len(levels) > 1 else ""
        if arm_of:
            yield Facet(title, factor, names, "", _ONE, arm_of)


def _by_levels(arms: Sequence[ArmEntry]) -> dict[frozenset[tuple[str, str]], str]:
    return {frozenset(arm.levels.items()): arm.arm_id for arm in arms if arm.in_design}
