"""Where settings lie in their ranges, worked by hand."""

import pytest

from orchestrator.search.schema import Dimension, Scalar
from orchestrator.search.settings import places

LOG = {"log": [0.0005, 0.05]}


@pytest.mark.parametrize(
    ("dimension", "value", "share", "near"),
    [
        (LOG, 0.005, 0.5, None),
        (LOG, 0.001, 0.151, None),  # 1 % of the way up on a linear scale
        (LOG, 0.0436, 0.970, "upper"),  # 87 % of the way up on a linear scale
        (LOG, 0.0006, 0.040, "lower"),
        (LOG, 0.05, 1.0, "upper"),
        ({"uniform": [0.0005, 0.05]}, 0.001, 0.0101, "lower"),
        ({"uniform": [0.0005, 0.05]}, 0.0436, 0.871, None),
        ({"int": [1, 101]}, 5, 0.04, "lower"),
        ({"int": [1, 101]}, 6, 0.05, None),
        ({"int": [1, 64], "log": True}, 8, 0.5, None),
        ({"int": [8, 30], "step": 8}, 24, 1.0, "upper"),  # 32 is out of reach
        ({"choice": [1, 2, 4]}, 4, None, None),
        ({"choice": ["adamw", "sgd"]}, "sgd", None, None),
    ],
)
def test_a_place_is_measured_on_the_scale_of_the_dimension(
    dimension: dict[str, object], value: Scalar, share: float | None, near: str | None
) -> None:
    [place] = places({"a.b": Dimension.model_validate(dimension)}, {"a.b": value}, is_grid=False)
    assert place.share == (None if share is None else pytest.approx(share, abs=1e-3))
    assert place.near == near


def test_the_last_point_of_a_grid_is_its_end() -> None:
    space = {"a.b": Dimension.model_validate({"int": [8, 100], "log": True})}  # 8, 16, 32, 64
    [on_grid] = places(space, {"a.b": 64}, is_grid=True)
    [proposed] = places(space, {"a.b": 64}, is_grid=False)
    assert (on_grid.share, on_grid.near) == (1.0, "upper")
    assert proposed.near is None and proposed.share == pytest.approx(0.823, abs=1e-3)
