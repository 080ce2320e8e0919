"""Which factor goes along x and which along y in a figure, for any number of factors."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from typing import Generic, NamedTuple, TypeVar

from orchestrator.plan.document import ArmEntry, PlanDocument
from orchestrator.spec.load import AblationSpec, levels_of
from orchestrator.verdicts.change_effects import arm_of_changes

EXTRA = "Extra arms"
GREEDY = "Arms of the greedy path"
OTHERS = "Other arms of the design"
T = TypeVar("T")
_ONE = ("",)
_LIST = "arm"
_MOST_IN_LIST = 7  # more arms side by side have no room for their names
_MOST_ALONG_X = 15  # more levels have no room for their names; they are split into parts
_IN_PART = 10


class Facet(NamedTuple, Generic[T]):
    """One part of a figure: arms that differ in two factors at most.

    Attributes:
        title: the levels of the factors that are fixed here, one per line.
        x_factor: the factor along x, which learning curves show by colour; ``arm`` where arms
            are listed by name; "" for arms outside the design.
        x_levels: its levels.
        y_factor: the second factor; "" if there is none.
        y_levels: its levels; ``("",)`` if there is none.
        arms: (x level, y level) → arm id, or what is shown of the arm.
    """

    title: str
    x_factor: str
    x_levels: tuple[str, ...]
    y_factor: str
    y_levels: tuple[str, ...]
    arms: Mapping[tuple[str, str], T]

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
    def cells(self) -> Iterator[tuple[int, int, T]]:
        """(index of the x level, index of the y level, entry of `arms`) of every arm."""
        for (x, y), arm in self.arms.items():
            yield self.x_levels.index(x), self.y_levels.index(y), arm


def place(
    plan: PlanDocument, shown: Mapping[str, T], only: Sequence[str] | None = None
) -> list[Facet[T]]:
    """`facets` with what is shown of each arm; arms that `shown` lacks have no place."""
    return [
        Facet(*facet[:5], {at: shown[arm] for at, arm in facet.arms.items() if arm in shown})
        for facet in facets(plan.spec, plan.arms, only)
    ]


def facets(
    spec: AblationSpec, arms: Sequence[ArmEntry], only: Sequence[str] | None = None
) -> list[Facet[str]]:
    """Arrange the arms of a plan; `only` names those shown, which are then listed by name.

    A factorial design has its largest factor along x and its second largest along y, and one
    facet for each combination of the others. A one-factor design has one facet per factor. Other
    designs list their arms by name, a few per facet. Arms that fit nowhere, arms of a greedy
    path, and extra arms have their own facets. A factor with many levels along x is split.
    """
    if only is not None:
        return listed(only)
    if spec.design in ("factorial", "one_factor"):
        found = [part for facet in _over_factors(spec, arms) for part in _split(facet)]
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


def curve_facets(
    spec: AblationSpec, arms: Sequence[ArmEntry], only: Sequence[str] | None = None
) -> list[Facet[str]]:
    """Arrange the arms into panels of learning curves.

    As `facets`, but a leave-one-out design has one facet per change, with three arms: all
    changes, all but this one, and none.
    """
    found = facets(spec, arms, only)
    if spec.design != "leave_one_out" or only is not None:
        return found
    by_changes = arm_of_changes(spec, arms)
    whole, base = (
        [by_changes.pop(changes)] if changes in by_changes else []
        for changes in (frozenset(spec.factors), frozenset[str]())
    )
    return [
        *(listed([*whole, arm, *base])[0] for arm in by_changes.values()),
        *(facet for facet in found if not facet.is_design),
    ]


def listed(names: Sequence[str]) -> list[Facet[str]]:
    """List arms by name, in facets of about equal size."""
    return [
        Facet("", _LIST, part, "", _ONE, {(name, ""): name for name in part})
        for part in _in_parts(names, _MOST_IN_LIST)
    ]


def _in_parts(names: Sequence[str], most: int) -> list[tuple[str, ...]]:
    """The names in parts of about equal size, of up to `most`."""
    n_parts = -(-len(names) // most)
    ends = [len(names) * (index + 1) // n_parts for index in range(n_parts)]
    return [tuple(names[start:end]) for start, end in zip([0, *ends], ends, strict=False)]


def _split(facet: Facet[str]) -> Iterator[Facet[str]]:
    """The facet in parts, if it has more levels along x than have room for their names."""
    if len(facet.x_levels) <= _MOST_ALONG_X:
        yield facet
        return
    for levels in _in_parts(facet.x_levels, _IN_PART):
        arms = {at: arm for at, arm in facet.arms.items() if at[0] in levels}
        if arms:
            yield facet._replace(x_levels=levels, arms=arms)


def _over_factors(spec: AblationSpec, arms: Sequence[ArmEntry]) -> Iterator[Facet[str]]:
    """Facets over one or two factors; an excluded arm leaves its place empty."""
    levels = levels_of(spec)
    if spec.design == "one_factor":
        base = {factor: names[0] for factor, names in levels.items()}
        chosen = [(factor if len(levels) > 1 else "", factor, "", base) for factor in levels]
    else:
        by_size = sorted(levels, key=lambda factor: -len(levels[factor]))  # stable: file order
        x_factor, y_factor = by_size[0], by_size[1] if len(by_size) > 1 else ""
        fixed = [factor for factor in levels if factor not in (x_factor, y_factor)]
        chosen = []
        for cell in product(*(levels[factor] for factor in fixed)):
            title = "\n".join(f"{f} = {level}" for f, level in zip(fixed, cell, strict=True))
            chosen.append((title, x_factor, y_factor, dict(zip(fixed, cell, strict=True))))
    by_levels = {frozenset(arm.levels.items()): arm.arm_id for arm in arms if arm.in_design}
    for title, x_factor, y_factor, others in chosen:
        y_levels = levels[y_factor] if y_factor else _ONE
        arm_of = {}
        for x, y in product(levels[x_factor], y_levels):
            full = {**others, x_factor: x, **({y_factor: y} if y_factor else {})}
            if arm := by_levels.get(frozenset(full.items())):
                arm_of[x, y] = arm
        if arm_of:
            yield Facet(title, x_factor, levels[x_factor], y_factor, y_levels, arm_of)
