"""`orchestrator.spec.load` and its checks: one clear line for every mistake."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from decoder.errors import ConfigError
from orchestrator.spec.load import Loaded, load_spec
from orchestrator.spec.names import level_text

WEAK = "hypotheses/weak_hurts"
HIGH_LOW = {"high": {"optim.lr_max": 0.005}, "low": {"optim.lr_max": 0.002}}
CONTRAST = {"factor": "noise", "from": "official", "to": "weak"}

# What is changed in a sound file → where the one complaint points, and what it must say.
MISTAKES: dict[str, tuple[dict[str, Any], str, tuple[str, ...]]] = {
    "unknown key": ({"sseds": [1]}, "sseds", ("'seeds'",)),
    "unknown key of a hypothesis": (
        {f"{WEAK}/margn": 1}, "hypotheses.weak_hurts.margn", ("'margin'",)
    ),
    "unknown key of a contrast": (
        {f"{WEAK}/contrast": {**CONTRAST, "form": "x"}},
        "hypotheses.weak_hurts.contrast.form",
        ("'from'",),
    ),
    "missing key": ({"question": ...}, "question", ("missing",)),
    "wrong type": ({"alpha": [1]}, "alpha", ("number", "[1]")),
    "quoted number": ({f"{WEAK}/margin": "2e-2"}, "hypotheses.weak_hurts.margin", ("quotes",)),
    "quoted number in a level": (
        {"factors/rate/low": {"optim.lr_max": "1e-3"}},
        "factors.rate.low: optim.lr_max",
        ("quotes",),
    ),
    "missing base": ({"base": "bas.yaml"}, "base", ("'bas.yaml'", "'base.yaml'")),
    "unknown path in a factor": (
        {"factors/rate/low": {"optim.lr_mx": 0.002}},
        "factors.rate.low",
        ("'optim.lr_mx'", "'optim.lr_max'"),
    ),
    "unknown path in set": (
        {"set": {"lr_max": 0.1}}, "set", ("'lr_max'", "'optim.lr_max'")
    ),
    "unknown path in an extra arm": (
        {"extra_arms": {"mine": {"set": {"model.width": 3}}}},
        "extra_arms.mine.set",
        ("'model.width'",),
    ),
    "value the decoder refuses": (
        {"factors/rate/low": {"optim.lr_max": -1.0}},
        "factors.rate.low: optim.lr_max",
        ("0", "-1.0"),
    ),
    "word the decoder does not know": (
        {"set": {"loss.ctc_reduction": "sum"}},
        "set: loss.ctc_reduction",
        ("'none_then_mean'", "'mean'", "'sum'"),
    ),
    "combination the decoder refuses": (
        {"factors/rate/low": {"optim.lr_max": 0.00005}},
        "arm official+low",
        ("optim.lr_min (0.0001)", "optim.lr_max (5e-05)", "1 more arm"),
    ),
    "one level": ({"factors/rate": {"high": {}}, f"{WEAK}/where": {"rate": "high"},
                   "hypotheses/only_when_slow": ...}, "factors.rate", ("'high'",)),
    "no factors": ({"factors": {}, "hypotheses": {}}, "factors", ("optim.lr_max",)),
    "equal levels": (
        {"factors/rate/low": {"optim.lr_max": 0.005}},
        "factors.rate",
        ("'high'", "'low'", "optim.lr_max=0.005"),
    ),
    "level equal to the base": (
        {"factors/rate": {"high": {}, "low": {"optim.lr_max": 0.005}}},
        "factors.rate",
        ("'high'", "'low'", "optim.lr_max=0.005"),
    ),
    "one path in two factors": (
        {"factors/noise/weak": {"augment.white_noise_std": 0.25, "optim.lr_max": 0.1}},
        "factors.rate",
        ("'optim.lr_max'", "'noise'"),
    ),
    "hypothesis on an unknown factor": (
        {f"{WEAK}/contrast": {"factor": "nois", "from": "official", "to": "weak"}},
        "hypotheses.weak_hurts.contrast",
        ("'nois'", "'noise'"),
    ),
    "contrast of a config field": (
        {f"{WEAK}/contrast": {"factor": "optim.lr_max", "from": "a", "to": "b"}},
        "hypotheses.weak_hurts.contrast",
        ("'optim.lr_max'", "extra_arms"),
    ),
    "hypothesis on an unknown level": (
        {f"{WEAK}/contrast": {"factor": "noise", "from": "oficial", "to": "weak"}},
        "hypotheses.weak_hurts.contrast",
        ("'oficial'", "'noise'", "'official'"),
    ),
    "contrast of a level with itself": (
        {f"{WEAK}/contrast": {"factor": "noise", "from": "weak", "to": "weak"}},
        "hypotheses.weak_hurts.contrast",
        ("'weak'",),
    ),
    "where misses a factor": (
        {f"{WEAK}/where": {}}, "hypotheses.weak_hurts.where", ("'rate'", "rate: high")
    ),
    "where names the contrast's factor": (
        {f"{WEAK}/where": {"rate": "high", "noise": "weak"}},
        "hypotheses.weak_hurts.where",
        ("'noise'", "contrast"),
    ),
    "where names an unknown level": (
        {f"{WEAK}/where": {"rate": "hi"}},
        "hypotheses.weak_hurts.where",
        ("'hi'", "'rate'", "'high'"),
    ),
    "interaction over the contrast's factor": (
        {f"{WEAK}/interaction": CONTRAST},
        "hypotheses.weak_hurts.interaction",
        ("'noise'",),
    ),
    "arm outside a one-factor design": (
        {"design": "one_factor", f"{WEAK}/where": {"rate": "low"},
         "hypotheses/only_when_slow": ...},
        "hypotheses.weak_hurts",
        ("noise=weak", "'one_factor'", "design: factorial"),
    ),
    "no seeds": ({"seeds": []}, "seeds", ("[0, 1, 2]",)),
    "seed twice": ({"seeds": [3, 1, 3]}, "seeds", ("3",)),
    "negative seed": ({"seeds": [-1]}, "seeds.0", ("0", "-1")),
    "seed that is a truth value": ({"seeds": [True]}, "seeds.0", ("whole number", "true")),
    "name with a slash": ({"name": "../evil"}, "name", ("'../evil'", "A-Z a-z 0-9 . _ -")),
    "name with a leading dot": ({"name": ".hidden"}, "name", ("'.hidden'", "A-Z a-z 0-9 . _ -")),
    "name too long": ({"name": "x" * 65}, "name", ("1 to 64",)),
    "name ending in a line break": ({"name": "x\n"}, "name", (r"'x\n'", "1 to 64")),
    "factor with a bad name": ({"factors/a b": HIGH_LOW}, "factors.a b", ("'a b'",)),
    "more evaluations than there are": (
        {"collapse": {"n_evaluations": 4}},
        "collapse.n_evaluations",
        ("4", "3", "train.n_steps 60"),
    ),
    "margin in percent": ({f"{WEAK}/margin": 2}, "hypotheses.weak_hurts.margin", ("0.02",)),
    "extra arm on an unknown level": (
        {"extra_arms": {"mine": {"levels": {"rate": "medium"}}}},
        "extra_arms.mine.levels",
        ("'medium'", "'rate'", "high, low"),
    ),
    "extra arm named as a design arm": (
        {"factors": {"rate": HIGH_LOW}, "hypotheses": {}, "extra_arms": {"low": {}}},
        "extra_arms.low",
        ("design",),
    ),
    "censoring at two budgets": (
        {"factors/noise": {"official": {}, "weak": {"train.n_steps": 80}},
         f"{WEAK}/outcome": "escape_step", "hypotheses/only_when_slow": ...},
        "hypotheses.weak_hurts",
        ("[60, 80]", "train.n_steps"),
    ),
    "unknown outcome": (
        {f"{WEAK}/outcome": "pre"}, "hypotheses.weak_hurts.outcome", ("'pre'", "'per'")
    ),
    "unknown design": ({"design": "facctorial"}, "design", ("'factorial'", "'facctorial'")),
    "unknown path behind a reference": (
        {"set": {"optim.lr_max_day": "${optim.lr_mx}"}},
        "set: optim.lr_max_day",
        ("'optim.lr_mx'", "'optim.lr_max'"),
    ),
    "computed reference": (
        {"factors/rate/low": {"optim.lr_max": "2 * ${optim.lr_min}"}},
        "factors.rate.low: optim.lr_max",
        ("'${section.field}'", "'2 * ${optim.lr_min}'"),
    ),
    "references in a circle": (
        {"set": {"optim.beta1": "${optim.beta2}", "optim.beta2": "${optim.beta1}"}},
        "optim.beta1",
        ("optim.beta1 → optim.beta2 → optim.beta1",),
    ),
    "third level in a two-level design": (
        {"design": "leave_one_out",
         "factors/rate": {**HIGH_LOW, "lower": {"optim.lr_max": 0.001}}, "hypotheses": {}},
        "factors.rate",
        ("'leave_one_out'", "3"),
    ),
    "one level in a path": (
        {"design": "path", "factors/rate": {"high": {}}, "hypotheses": {}},
        "factors.rate",
        ("'high'",),
    ),
    "paired factors of unequal length": (
        {"design": "paired",
         "factors/rate": {**HIGH_LOW, "lower": {"optim.lr_max": 0.001}}, "hypotheses": {}},
        "factors",
        ("'paired'", "noise 2, rate 3"),
    ),
    "arms without their design": (
        {"arms": {"a": {"noise": "weak", "rate": "low"}}}, "arms", ("'factorial'", "design: arms")
    ),
    "design arms without arms": (
        {"design": "arms", "hypotheses": {}}, "arms", ("design 'arms'",)
    ),
    "listed arm that lacks a factor": (
        {"design": "arms", "arms": {"a": {"noise": "weak"}}, "hypotheses": {}},
        "arms.a",
        ("rate: high",),
    ),
    "listed arms that are the same": (
        {"design": "arms", "hypotheses": {},
         "arms": dict.fromkeys(("a", "b"), {"noise": "weak", "rate": "low"})},
        "arms.b",
        ("'a'", "extra_arms"),
    ),
    "excluded cell that is none": (
        {"design": "one_factor", "exclude": [{"noise": "weak", "rate": "low"}], "hypotheses": {}},
        "exclude.0",
        ("'one_factor'", "noise=weak, rate=low"),
    ),
    "excluded everything": (
        {"exclude": [{"noise": "weak"}, {"noise": "official"}], "hypotheses": {}},
        "exclude",
        (),
    ),
    "included what is there": (
        {"include": [{"noise": "weak", "rate": "low"}]}, "include.0", ("noise=weak, rate=low",)
    ),
    "excluded what is compared": (
        {"exclude": [{"noise": "weak", "rate": "high"}], "hypotheses/only_when_slow": ...},
        "hypotheses.weak_hurts",
        ("noise=weak, rate=high", "'factorial'"),
    ),
    "fraction of another design": (
        {"fraction": {"n_arms": 8}}, "fraction", ("'fractional'", "'factorial'")
    ),
    "fraction of two factors": (
        {"design": "fractional", "hypotheses": {}}, "design", ("design: factorial",)
    ),
    "looks out of order": (
        {"looks": [{"seeds": 2, "alpha": 0.01}, {"seeds": 1, "alpha": 0.01},
                   {"seeds": 3, "alpha": 0.03}]},
        "looks",
        ("[2, 1, 3]",),
    ),
    "looks that end early": (
        {"looks": [{"seeds": 2, "alpha": 0.05}]}, "looks", ("2", "seeds: 3")
    ),
    "looks that spend too much": (
        {"looks": [{"seeds": 2, "alpha": 0.02}, {"seeds": 3, "alpha": 0.04}]},
        "looks",
        ("0.06", "0.05"),
    ),
    "criterion of two kinds": (
        {"criteria": {"good": {"metric": "per", "below": 0.25, "above": 0.1}}},
        "criteria.good",
        ("below, above, reaches, within, never", "below and above"),
    ),
    "criterion without its reference": (
        {"criteria": {"good": {"metric": "per", "within": 0.01}}},
        "criteria.good",
        ("'within'", "'of'"),
    ),
    "criterion with a stray key": (
        {"criteria": {"good": {"metric": "per", "never": "diverged"}}},
        "criteria.good.metric",
        ("'never'",),
    ),
    "criterion on an unknown metric": (
        {"criteria": {"good": {"metric": "grad_nrm", "below": 10}}},
        "criteria.good.metric",
        ("'grad_nrm'", "'grad_norm'"),
    ),
    "criterion of an unknown arm": (
        {"criteria": {"good": {"metric": "per", "below": 0.3, "arms": ["weak+lo"]}}},
        "criteria.good.arms",
        ("'weak+lo'", "'weak+low'"),
    ),
    "seed beyond the last": (
        {"extra_arms": {"again": {"seed_offset": 4294967295}}},
        "extra_arms.again.seed_offset",
        ("4294967297", "4294967296"),
    ),
    "fresh seeds that are not fresh": (
        {"extra_arms": {"again": {"seed_offset": 1}}},
        "extra_arms.again.seed_offset",
        ("(1, 2)", "1000"),
    ),
    "prior of an unknown outcome": ({"prior": {"cer": 0.01}}, "prior.cer", ("'cer'", "write per")),
    "prior of a share above one": ({"prior": {"collapsed": 2}}, "prior.collapsed", ("0.1",)),
    "levels that are no mapping": ({"factors/rate/low": [1]}, "factors.rate.low", ("a mapping",)),
}  # fmt: skip


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_gives_one_line_with_file_and_path(
    mistake: str, problems: Callable[..., tuple[str, ...]], tmp_path: Path
) -> None:
    changes, where, texts = MISTAKES[mistake]
    (problem,) = problems(changes)
    assert re.match(rf"{tmp_path / 'question.yaml'}(:\d+)?: {re.escape(where)}:", problem)
    assert "\n" not in problem
    # What to do about it: a separate clause, the nearest name, or what is allowed.
    assert any(text in problem for text in ("; ", "did you mean", "(allowed", "must "))
    for text in texts:
        assert text in problem


def test_twenty_five_and_more_mistakes_give_different_messages(
    problems: Callable[..., tuple[str, ...]],
) -> None:
    found = {problem for changes, _, _ in MISTAKES.values() for problem in problems(changes)}
    assert len(found) >= 25


def test_a_sound_file_is_accepted(load: Callable[..., Loaded]) -> None:
    loaded = load()
    assert [arm.arm_id for arm in loaded.arms] == [
        *("official+high", "official+low", "weak+high", "weak+low")
    ]
    assert loaded.base.train.n_steps == 60


def test_all_mistakes_are_named_at_once(problems: Callable[..., tuple[str, ...]]) -> None:
    found = problems(
        {
            "sseds": [1],
            "seeds": [1, 1],
            "base": "nowhere.yaml",
            "set": {"optim.lr_mx": 1},
            "factors/rate/low": {"optim.lr_max": "1e-3"},
            f"{WEAK}/margin": "0.1",
            f"{WEAK}/where": {"rat": "high"},
            "hypotheses/only_when_slow/outcome": "cer",
        }
    )
    for text in (
        *("'sseds'", ": seeds: 1 ", "'nowhere.yaml'", "'optim.lr_mx'", "factors.rate.low"),
        *("weak_hurts.margin", "where: 'rat'", "only_when_slow.outcome"),
    ):
        assert sum(text in problem for problem in found) == 1, text
    assert sum("weak_hurts.where" in problem for problem in found) == 2  # unknown, and missing
    assert len(found) == 9


def test_malformed_factor_neither_hides_nor_causes_other_complaints(
    problems: Callable[..., tuple[str, ...]],
) -> None:
    found = problems({"factors/rate": 3, "seeds": [1, 1]})
    assert len(found) == 2
    assert "factors.rate" in found[0] and "seeds" in found[1]


def test_mistakes_in_the_base_are_named_with_its_own_file(
    problems: Callable[..., tuple[str, ...]], tmp_path: Path
) -> None:
    (problem,) = problems({}, base={"optim/lr_mx": 0.1})
    assert problem.startswith(f"{tmp_path / 'base.yaml'}:1: optim.lr_mx: ")


def test_a_duplicate_key_is_refused_with_both_lines(tmp_path: Path) -> None:
    path = tmp_path / "twice.yaml"
    path.write_text("name: a\nquestion: b\nname: c\n")
    with pytest.raises(ConfigError) as caught:
        load_spec(path)
    (problem,) = caught.value.problems
    assert problem.startswith(f"{path}:3: ")
    assert "'name'" in problem and "line 1" in problem


def test_a_missing_file_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="nowhere.yaml: .*No such file"):
        load_spec(tmp_path / "nowhere.yaml")


@pytest.mark.parametrize(
    ("value", "text"),
    [
        *((0.005, "0.005"), (0.1, "0.1"), (1e-8, "1e-8"), (1e22, "1e+22"), (3, "3")),
        *((True, "true"), (None, "null"), ("as it is", "as it is")),
    ],
)
def test_bare_level_names_become_text(value: Any, text: str) -> None:
    assert level_text(value) == text


def test_levels_named_by_bare_numbers_become_text_in_every_section(
    write_spec: Callable[..., Path],
) -> None:
    path = write_spec(
        {
            "factors/rate": {"R1": {"optim.lr_max": 0.005}, "R2": {"optim.lr_max": 0.1}},
            f"{WEAK}/contrast": {"factor": "rate", "from": "R1", "to": "R2"},
            f"{WEAK}/where": {"noise": "weak"},
            "hypotheses/only_when_slow": ...,
            "extra_arms": {"mine": {"levels": {"rate": "R2"}}},
        }
    )
    text = path.read_text()
    path.write_text(text.replace('"R1"', "0.005").replace('"R2"', "1e-8"))
    loaded = load_spec(path)
    assert list(loaded.spec.factors["rate"]) == ["0.005", "1e-8"]
    assert loaded.spec.hypotheses["weak_hurts"].contrast.to_level == "1e-8"
    assert loaded.spec.extra_arms["mine"].levels == {"rate": "1e-8"}


def test_a_number_and_its_text_cannot_both_name_a_level(
    write_spec: Callable[..., Path],
) -> None:
    path = write_spec()
    path.write_text(path.read_text().replace('"high": {', '0.5: {}, "0.5": {}, "high": {'))
    with pytest.raises(ConfigError, match=r"factors\.rate: .*'0\.5'"):
        load_spec(path)


def test_levels_may_set_different_keys_and_keep_the_base_elsewhere(
    load: Callable[..., Loaded],
) -> None:
    loaded = load({"factors/noise/weak": {"augment.constant_offset_std": 0.05}})
    weak = next(arm for arm in loaded.arms if arm.arm_id == "weak+high")
    assert weak.config.augment.white_noise_std == 1.0  # the base's default
    assert weak.config.augment.constant_offset_std == 0.05


def test_every_factorial_that_is_too_large_is_refused_at_once(
    problems: Callable[..., tuple[str, ...]],
) -> None:
    paths = ["optim.epsilon", "optim.beta1", "optim.weight_decay", "optim.grad_clip",
             "model.rnn_dropout"]  # fmt: skip
    factors = {
        f"f{i}": {f"l{j}": {path: (j + 1) / 100} for j in range(8)} for i, path in enumerate(paths)
    }
    (problem,) = problems({"factors": factors, "hypotheses": {}})
    assert "32,768 arms" in problem and "20,000" in problem


def test_decoder_configuration_is_not_taken_for_an_ablation(tmp_path: Path) -> None:
    path = tmp_path / "base.yaml"
    path.write_text("data: {path: synthetic:tiny}\ntrain: {n_steps: 4}\n")
    with pytest.raises(ConfigError, match=f"{path}: .*decoder configuration.*'base'") as caught:
        load_spec(path)
    assert len(caught.value.problems) == 1
