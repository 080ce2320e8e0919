"""`orchestrator.plan.ablation_writer`: one factor and one claim for each change."""

import pytest
import yaml

from orchestrator.plan.ablation_writer import (
    FactorChange,
    ablation_of,
    ablation_yaml,
    factor_names,
)
from orchestrator.spec.schema import AblationSpec

CHANGES = {
    "lr_max": FactorChange(
        "optim.lr_max",
        {"optim.lr_max": 0.005, "optim.lr_max_day": 0.005},
        {"optim.lr_max": 0.002, "optim.lr_max_day": 0.002},
    ),
    "epsilon": FactorChange("optim.epsilon", {"optim.epsilon": 0.1}, {"optim.epsilon": 1e-8}),
}


def test_each_change_is_a_factor_with_a_claim_and_the_seeds_suffice() -> None:
    ablation = ablation_of(
        CHANGES,
        name="which",
        question="Which?",
        base="base.yaml",
        design="leave_one_out",
        margin=0.01,
        direction="decrease",
        common={"train.n_steps": 100},
    )
    assert list(ablation) == [
        *("name", "question", "base", "set", "factors", "design", "seeds", "hypotheses"),
    ]
    assert ablation["factors"]["lr_max"]["0.002"] == CHANGES["lr_max"].after
    claim = ablation["hypotheses"]["lr_max_matters"]
    assert claim["contrast"] == {"factor": "lr_max", "from": "0.005", "to": "0.002"}
    assert (claim["direction"], claim["margin"]) == ("decrease", 0.01)
    assert len(ablation["seeds"]) == 7  # 2 / 2^7 times 2 claims is the first below 0.05
    spec = AblationSpec.model_validate(yaml.safe_load(ablation_yaml(ablation)))
    assert set(spec.factors) == {"lr_max", "epsilon"}


@pytest.mark.parametrize(
    ("paths", "names"),
    [
        (["optim.lr_max", "model.n_units"], ["lr_max", "n_units"]),
        (["optim.scale", "model.scale"], ["optim-scale", "model-scale"]),
    ],
)
def test_factors_are_named_by_their_fields(paths: list[str], names: list[str]) -> None:
    assert list(factor_names(paths).values()) == names
