"""`orchestrator.spec.claim_text`: what would count, and claims that contradict their direction."""

from typing import Any

import pytest
from made_claims import claim
from shipped import QUESTIONS

from orchestrator.spec.claim_text import direction_caution, what_counts
from orchestrator.spec.load import load_spec
from orchestrator.spec.schema import AblationSpec, Hypothesis


def sentence(n_claims: int = 1, **changes: Any) -> str:
    looks = changes.pop("looks", ())
    spec = AblationSpec.model_validate(
        {
            "name": "t",
            "question": "?",
            "base": "b.yaml",
            "factors": {"loss": {"sum": {}, "mean": {}}, "size": {"small": {}, "large": {}}},
            "seeds": [0, 1, 2, 3, 4, 5],
            "hypotheses": {f"h{i}": claim(**changes) for i in range(n_claims)},
            "looks": looks,
        }
    )
    return what_counts(spec)["h0"]


@pytest.mark.parametrize("direction", ["increase", "decrease", "either", "no_difference"])
@pytest.mark.parametrize("outcome", ["per", "collapsed", "escape_step", "entropy_nats"])
def test_a_sentence_has_levels_margin_seeds_and_all_three_words(
    direction: str, outcome: str
) -> None:
    text = sentence(direction=direction, outcome=outcome, margin=0.07)
    for fact in ("from sum to mean", "6 seeds", "p < .05", "Supported", "refuted", "inconclusive"):
        assert fact in text
    margin = {"per": "7.0 PER points", "collapsed": "7.0 points", "escape_step": "0 steps"}
    assert text.count(margin.get(outcome, "0.07 entropy_nats")) >= 2


def test_a_sentence_names_the_correction_the_looks_and_the_second_contrast() -> None:
    assert "Holm over 3 claims" in sentence(3) and "Holm" not in sentence(1)
    looks = [{"seeds": 4, "alpha": 0.01}, {"seeds": 6, "alpha": 0.04}]
    assert "p < .01 at 4 seeds or p < .04 at 6 seeds" in sentence(looks=looks)
    other = {"factor": "size", "from": "small", "to": "large"}
    text = sentence(interaction=other)
    assert "with large" in text and "than with small" in text


@pytest.mark.parametrize(
    "words",
    [
        "PER depends on the noise.",
        "The learning rate matters.",
        "Epsilon changes the plateau.",
    ],
)
def test_a_claim_of_a_difference_is_no_claim_of_equivalence(words: str) -> None:
    equal = Hypothesis.model_validate(claim(claim=words, direction="no_difference"))
    caution = direction_caution(equal)
    assert caution is not None and "direction: either" in caution
    for direction in ("increase", "decrease", "either"):
        one = Hypothesis.model_validate(claim(claim=words, direction=direction))
        assert direction_caution(one) is None


@pytest.mark.parametrize(
    "words",
    [
        "The noise has no effect on PER.",
        "Both epsilons end at the same PER.",
        "The learning rate does not matter.",
        "PER is independent of epsilon.",
    ],
)
def test_a_claim_of_no_effect_is_no_claim_of_a_direction(words: str) -> None:
    for direction in ("increase", "decrease", "either"):
        one = Hypothesis.model_validate(claim(claim=words, direction=direction))
        caution = direction_caution(one)
        assert caution is not None and "direction: no_difference" in caution
    equal = Hypothesis.model_validate(claim(claim=words, direction="no_difference"))
    assert direction_caution(equal) is None


def test_shipped_claims_say_what_their_direction_says() -> None:
    for path in QUESTIONS:
        for hypothesis in load_spec(path).spec.hypotheses.values():
            assert direction_caution(hypothesis) is None
