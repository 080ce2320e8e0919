"""Which factor goes along which side of a figure, for any number of factors."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from typing import Any, NamedTuple

from orchestrator.spec import AblationSpec, levels_of

EXTRA = "Extra arms"
_ONE = ("",)


class Facet(NamedTuple):
    """One part of a figure: arms that differ in two factors at most.

    Attributes:
        title: the levels of the factors that are fixed here, one a line.
        x_factor: the factor along x, and told apart by colour in curves; "" for extra arms.
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
    def own_title(self) -> str:
        """The title, unless the x axis says the same."""
        return "" if self.title == self.x_factor else self.title


def facets(spec: AblationSpec, arms: Sequence[Mapping[str, Any]]) -> list[Facet]:
    """Arrange the arms of a plan.

    A factorial design puts its largest factor along x and its second largest along y; the rest
    make facets. A one-factor design makes one facet a factor. Extra arms share a last one.

    Args:
        spec: factors and design.
        arms: the plan's arms.
    """
    found = list(_factorial(spec, arms) if spec.design == "factorial" else _one(spec, arms))
    extra = tuple(arm["arm_id"] for arm in arms if not arm["in_design"])
    if extra:
        found.append(Facet(EXTRA, "", extra, "", _ONE, {(name, ""): name for name in extra}))
    return found


def _factorial(spec: AblationSpec, arms: Sequence[Mapping[str, Any]]) -> Iterator[Facet]:
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
            arm_of[x, y] = by_levels[frozenset(full.items())]
        title = "\n".join(f"{factor} = {level}" for factor, level in chosen.items())
        yield Facet(title, x_factor, levels[x_factor], y_factor, y_levels, arm_of)


def _one(spec: AblationSpec, arms: Sequence[Mapping[str, Any]]) -> Iterator[Facet]:
    levels = levels_of(spec)
    base = {factor: names[0] for factor, names in levels.items()}
    by_levels = _by_levels(arms)
    for factor, names in levels.items():
        arm_of = {
            (name, ""): by_levels[frozenset({**base, factor: name}.items())] for name in names
        }
        title = factor if len(levels) > 1 else ""
        yield Facet(title, factor, names, "", _ONE, arm_of)


def _by_levels(arms: Sequence[Mapping[str, Any]]) -> dict[frozenset[tuple[str, str]], str]:
    return {frozenset(arm["levels"].items()): arm["arm_id"] for arm in arms if arm["in_design"]}
