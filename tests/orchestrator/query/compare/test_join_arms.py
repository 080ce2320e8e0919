"""`orchestrator.query.compare.join_arms`: which arms are compared, and which have no partner."""

from typing import Any

import pytest

from decoder.errors import ConfigError
from orchestrator.query.compare.join_arms import join_arms
from orchestrator.query.compare.sides import Side, make_arm
from orchestrator.tables.run_row import RunRow


def arm(name: str, levels: dict[str, str] | None = None, **config: Any) -> Any:
    settings = {path.replace("__", "."): value for path, value in config.items()}
    run = RunRow(name, "ok", config_id=settings.pop("id", None), settings=settings)
    return make_arm(name, levels or {}, [run])


def side(*arms: Any, label: str = "A") -> Side:
    return Side(label, arms)


def names(pairs: Any) -> list[tuple[str | None, str | None, str]]:
    return [(p.a and p.a.name, p.b and p.b.name, p.joined_by) for p in pairs]


def test_a_single_arm_is_joined_with_a_single_arm() -> None:
    assert names(join_arms(side(arm("x")), side(arm("y")))) == [("x", "y", "only arms")]


def test_an_only_arm_is_joined_with_every_arm_that_nothing_else_joins() -> None:
    a, b = side(arm("x", id="p")), side(arm("y", id="q"), arm("z", id="r"))
    assert names(join_arms(a, b)) == [("x", "y", "only arms"), ("x", "z", "only arms")]
    assert names(join_arms(b, a)) == [("y", "x", "only arms"), ("z", "x", "only arms")]
    same = side(arm("y", id="q"), arm("z", id="p"))
    assert names(join_arms(a, same)) == [("x", "z", "configuration"), (None, "y", "")]


def test_the_same_configuration_goes_before_names_and_levels() -> None:
    a = side(arm("x", {"f": "1"}, id="same"), arm("y", {"f": "2"}, id="other"))
    b = side(arm("y", {"f": "1"}, id="third"), arm("z", {"f": "2"}, id="same"))
    assert names(join_arms(a, b))[0] == ("x", "z", "configuration")


def test_repetitions_of_a_configuration_go_by_name_first() -> None:
    a = side(arm("base", id="c"), arm("again", id="c"))
    b = side(arm("again", id="c"), arm("base", id="c"))
    assert [pair[:2] for pair in names(join_arms(a, b))] == [("base", "base"), ("again", "again")]


def test_factors_that_both_have_join_what_is_left() -> None:
    a = side(arm("1+a", {"f": "1", "g": "a"}, id="p"), arm("2+a", {"f": "2", "g": "a"}, id="q"))
    b = side(arm("2", {"f": "2"}, id="r"), arm("3", {"f": "3"}, id="s"))
    assert names(join_arms(a, b)) == [
        ("2+a", "2", "factors"),
        ("1+a", None, ""),
        (None, "3", ""),
    ]


def test_settings_join_a_table_with_few_of_them() -> None:
    a = side(
        arm("big", id="p", optim__epsilon=0.1, model__n_units=64),
        arm("small", id="q", optim__epsilon=1e-8, model__n_units=64),
    )
    b = side(arm("r1", optim__epsilon="1e-8"), arm("r2", optim__epsilon="0.10"))
    assert names(join_arms(a, b)) == [("big", "r2", "settings"), ("small", "r1", "settings")]


def test_columns_asked_for_decide() -> None:
    a = side(arm("x", {"rate": "0.005"}, id="1"), arm("y", {"rate": "0.002"}, id="2"))
    b = side(arm("p", {"rate": "0.0020"}, id="2"), arm("q", {"rate": "0.005"}, id="9"))
    assert names(join_arms(a, b, ["rate"])) == [("x", "q", "columns"), ("y", "p", "columns")]


def test_columns_that_do_not_distinguish_arms_are_refused_with_those_that_do() -> None:
    a = side(
        arm("x", optim__epsilon=0.1, model__n_units=64),
        arm("y", optim__epsilon=0.1, model__n_units=32),
    )
    b = side(arm("z", optim__epsilon=0.1), label="B")
    with pytest.raises(ConfigError, match=r"A.* 2 .*\(x, y\).*model.n_units"):
        join_arms(a, b, ["optim.epsilon"])


def test_a_column_that_a_side_lacks_is_named_with_the_nearest() -> None:
    a, b = side(arm("x", optim__epsilon=0.1)), side(arm("y", model__n_units=3), label="B")
    with pytest.raises(ConfigError, match="--on: B .*'optim.epsilon'"):
        join_arms(a, b, ["optim.epsilon"])
