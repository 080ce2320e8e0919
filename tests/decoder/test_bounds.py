"""Upper limits of a configuration: every number has one, and what is shipped stays far below."""

from pathlib import Path
from typing import Any

import pytest

from decoder.config import DecoderConfig, flatten, load_config, override, parse_config
from decoder.errors import ConfigError
from decoder.field_paths import sections
from decoder.parameters import MOST_PARAMETERS, count_parameters

SHIPPED = sorted((Path(__file__).parents[2] / "ablations/base").glob("*.yaml"))


def _numbers(schema: dict[str, Any]) -> list[dict[str, Any]]:
    """Every description of a number in a part of a schema."""
    parts = [*schema.get("anyOf", ()), *([schema["items"]] if "items" in schema else ())]
    own = [schema] if schema.get("type") in ("integer", "number") else []
    return own + [number for part in parts for number in _numbers(part)]


def _fields() -> dict[str, dict[str, Any]]:
    schemas = DecoderConfig.model_json_schema()["$defs"]
    return {
        f"{section}.{name}": field
        for section, model in sections().items()
        for name, field in schemas[model.__name__]["properties"].items()
        if f"{section}.{name}" not in sections()
    }


def test_every_number_of_a_configuration_has_an_upper_limit() -> None:
    numbers = {path: _numbers(field) for path, field in _fields().items()}
    assert sum(map(len, numbers.values())) > 50
    unlimited = [
        path
        for path, found in numbers.items()
        for number in found
        if not {"maximum", "exclusiveMaximum"} & number.keys()
    ]
    assert unlimited == []


def test_shipped_values_are_far_below_the_limits() -> None:
    limits = {
        path: found[0]["maximum"]
        for path, field in _fields().items()
        if (found := _numbers(field)) and found[0].get("maximum", 1) > 1
        if path != "evaluation.words.ngram_order"  # KenLM reads no higher orders than 6
    }
    for file in SHIPPED:
        flat = flatten(load_config(file))
        for path, limit in limits.items():
            value = flat[path]
            if isinstance(value, int | float):
                assert value * 50 <= limit, (file.name, path)


@pytest.mark.timeout(60)
@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("model.n_layers", 100_000_000),
        ("model.n_units", 2_147_483_648),
        ("augment.smooth_size_bins", 10**11),
        ("data.batch_size", 10**9),
        ("optim.lr_max", 1e300),
        ("optim.grad_clip", 10**400),
        ("train.n_steps", 10**12),
        ("data.feature_subset", [10**9]),
        ("model.blank_bias", -1e300),
    ],
)
def test_a_number_above_its_limit_is_refused_by_name(path: str, value: Any) -> None:
    with pytest.raises(ConfigError) as caught:
        override(DecoderConfig(), {path: value})
    (problem,) = caught.value.problems
    assert path in problem and len(problem) < 300


def test_a_model_that_fits_no_machine_is_refused_with_its_size() -> None:
    for model in (
        {"n_units": 60_000},
        {"n_units": 16_384, "n_layers": 1000},
        {"n_units": 65_536, "n_layers": 1000, "architecture": "transformer"},
        {"post_rnn_layers": 10, "post_rnn_units": 65_536},
    ):
        with pytest.raises(ConfigError, match="parameters"):
            parse_config({"model": model}, "x")


def test_the_largest_models_of_the_field_are_allowed() -> None:
    config = parse_config({"model": {"n_units": 8_192, "n_layers": 12}}, "x")
    n_parameters = count_parameters(config.model, n_features=1_024, n_classes=50, n_days=100)
    assert 4e9 < n_parameters < MOST_PARAMETERS


def test_more_evaluations_than_can_be_recorded_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"train\.eval_every_steps"):
        parse_config({"train": {"n_steps": 10**9, "eval_every_steps": 1}}, "x")


def test_clipping_that_is_written_as_a_large_number_is_allowed() -> None:
    assert override(DecoderConfig(), {"optim.grad_clip": 1e9}).optim.grad_clip == 1e9
