"""Interpolations lead where OmegaConf leads them, and a circle or an absent key is named."""

from typing import Any

import pytest

from decoder.errors import ConfigError
from decoder.interpolation import follow, has_interpolation

VARIABLES = {"HERE": "/data/here", "TWELVE": "12"}
FILE: dict[str, Any] = {
    "n": 7,
    "rate": 1e-3,
    "on": True,
    "none": None,
    "name": "x",
    "which": "a",
    "box": {"a": 1, "b": {"c": "deep"}, "l": [1, 2, {"k": "v"}]},
    "l": [10, 20],
    "3": "three",
}
# An interpolation at the top of FILE → what OmegaConf 2.4 makes of it.
FOLLOWED: dict[str, Any] = {
    "${n}": 7,
    "${ n }": 7,
    "${rate}": 0.001,
    "${none}": None,
    "run_${n}": "run_7",
    "${n}_${rate}_${on}_${none}": "7_0.001_True_None",
    "${box.b.c}": "deep",
    "${box[b][c]}": "deep",
    "${box.l[2].k}": "v",
    "${l.1}": 20,
    "${l.-1}": 20,
    "${box.${which}}": 1,
    "${box[${which}]}": 1,
    "${box.b}": {"c": "deep"},
    "x${l}": "x[10, 20]",
    "${3}": "three",
    "${oc.env:HERE}": "/data/here",
    "${ oc.env : HERE }/x": None,  # set below: a space ends no function's name
    "${oc.env:TWELVE}": "12",
    "${oc.env:ABSENT,dflt}": "dflt",
    "${oc.env:ABSENT,10}": "10",
    "${oc.env:ABSENT,null}": None,
    '${oc.env:ABSENT,"a, b"}': "a, b",
    "${oc.env:ABSENT,${name}/y}": "x/y",
    "${oc.env:ABSENT,/data/some dir/x}": "/data/some dir/x",
    "${oc.decode:${oc.env:TWELVE}}": 12,
    '${oc.decode:"[1,2]"}': [1, 2],
    "${oc.select:absent,5}": 5,
    "${oc.select:absent,1_000}": 1000,
    "${oc.select:absent,007}": "007",
    "${oc.select:absent,True}": True,
    "${oc.select:absent, a b }": "a b",
    "${oc.select:absent,a\\,b}": "a,b",
    "${oc.select:absent,C:\\data}": "C:\\data",
    "${oc.select:absent,[1,a,null,1.5]}": [1, "a", None, 1.5],
    "${oc.select:absent,{a:1,b: x y}}": {"a": 1, "b": "x y"},
    "${oc.select:none,3}": None,
    "${oc.dict.keys:box}": ["a", "b", "l"],
    "${oc.create:{a:1}}": {"a": 1},
    "\\${n}": "${n}",
    "\\\\${n}": "\\7",
    "C:\\data\\n${n}": "C:\\data\\n7",
    "$${n}": "$7",
}
FOLLOWED["${ oc.env : HERE }/x"] = "/data/here/x"
REFUSED = (
    "${absent}",
    "${box.absent}",
    "${l[5]}",
    "${function:3}",
    "${oc.env:ABSENT}",
    "${n",
    "${}",
    '${oc.select:absent,a"b}',
)


@pytest.mark.parametrize("text", FOLLOWED)
def test_an_interpolation_has_the_value_that_omegaconf_gives_it(text: str) -> None:
    value = follow({**FILE, "it": text}, "f", VARIABLES)["it"]
    assert (value, type(value)) == (FOLLOWED[text], type(FOLLOWED[text]))


@pytest.mark.parametrize("text", REFUSED)
def test_an_interpolation_that_leads_nowhere_is_refused_with_its_key(text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        follow({**FILE, "outer": {"it": text}}, "f", VARIABLES)
    [problem] = caught.value.problems
    assert problem.startswith("f: outer.it: ")


@pytest.mark.parametrize("text", [*FOLLOWED, *REFUSED])
def test_omegaconf_itself_agrees(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    omegaconf = pytest.importorskip("omegaconf")
    for name, value in VARIABLES.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("ABSENT", raising=False)

    def resolved() -> Any:
        made = omegaconf.OmegaConf.create({**FILE, "it": text})
        return omegaconf.OmegaConf.to_container(made, resolve=True)["it"]

    if text in REFUSED:
        with pytest.raises(omegaconf.errors.OmegaConfBaseException):
            resolved()
    else:
        assert resolved() == FOLLOWED[text]


def test_a_relative_key_starts_beside_the_text_and_each_dot_more_goes_up() -> None:
    file = {"n": 1, "a": {"n": 2, "b": {"n": 3, "own": "${.n}", "up": "${..n}", "top": "${...n}"}}}
    assert follow(file, "f", {})["a"]["b"] == {"n": 3, "own": 3, "up": 2, "top": 1}


def test_a_key_is_found_inside_of_what_another_interpolation_leads_to() -> None:
    file = {"here": "${box}", "box": {"a": ["x", "${n}"]}, "n": 4, "it": "${here.a.1}"}
    assert follow(file, "f", {}) == {"here": {"a": ["x", 4]}, "box": {"a": ["x", 4]}, "n": 4} | {
        "it": 4
    }


def test_a_circle_is_named_by_its_keys() -> None:
    with pytest.raises(ConfigError, match="a → b → a"):
        follow({"a": "${b}", "b": "x${a}"}, "f", {})


def test_keys_that_double_each_other_end_in_a_message_and_soon() -> None:
    texts = {f"t{i}": f"${{t{i + 1}}}${{t{i + 1}}}" for i in range(40)} | {"t40": "0123456789"}
    with pytest.raises(ConfigError, match="characters"):
        follow(texts, "f", {})
    boxes = {f"b{i}": {"x": f"${{b{i + 1}}}", "y": f"${{b{i + 1}}}"} for i in range(40)}
    with pytest.raises(ConfigError, match="very many values"):
        follow({**boxes, "b40": {"x": 1}, "it": "x${b0}"}, "f", {})


def test_the_variables_of_another_machine_stay_as_written() -> None:
    file = {"a": "${oc.env:HOME}/x", "b": "${a}/y", "n": 3, "c": "${n}", "d": "${oc.env:NONE,5}"}
    assert follow(file, "f", None) == {**file, "c": 3}
    assert has_interpolation(follow(file, "f", None)["b"])


def test_the_time_and_hydras_own_block_stay_as_written() -> None:
    file = {"out": "runs/${now:%Y-%m-%d}", "hydra": {"run": {"dir": "${absent}"}}}
    assert follow(file, "f", {}) == file
