"""`orchestrator.spec.json_schema`: what an editor is told agrees with what a file may hold."""

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
from jsonschema import Draft7Validator
from shipped import ABLATIONS, BASES, QUESTIONS, SEARCHES
from user_trainer import SPEC

from decoder.config import DecoderConfig, config_paths
from decoder.marks import Section
from decoder.strict_yaml import load_yaml
from orchestrator.cli.schema_command import FileKind, schema_of
from orchestrator.spec.json_schema import attribute_texts
from orchestrator.spec.names import level_text
from orchestrator.spec.schema import AblationSpec

VALIDATORS = {kind: Draft7Validator(schema_of(kind)) for kind in FileKind}


def kind_of(path: Path) -> FileKind:
    if path in BASES:
        return FileKind.decoder
    return FileKind.search if path in SEARCHES else FileKind.ablation


def as_editor_sees(value: Any) -> Any:
    """A YAML value as JSON: every key is text, as in an editor."""
    if isinstance(value, dict):
        return {str(level_text(key)): as_editor_sees(one) for key, one in value.items()}
    return [as_editor_sees(one) for one in value] if isinstance(value, list) else value


def complaints(kind: FileKind, document: Any) -> list[str]:
    """Where a document does not fit: key paths, sorted."""
    errors = VALIDATORS[kind].iter_errors(as_editor_sees(document))
    return sorted(".".join(map(str, error.absolute_path)) for error in errors)


@pytest.fixture
def ablation() -> dict[str, Any]:
    return load_yaml(ABLATIONS / "blank_collapse.yaml")


@pytest.mark.parametrize("kind", FileKind)
def test_each_schema_is_valid_itself(kind: FileKind) -> None:
    Draft7Validator.check_schema(schema_of(kind))


@pytest.mark.parametrize("path", (*BASES, *QUESTIONS, *SEARCHES), ids=lambda path: path.stem)
def test_every_shipped_file_fits_its_schema(path: Path) -> None:
    assert complaints(kind_of(path), load_yaml(path)) == []


@pytest.mark.parametrize(
    ("keys", "value", "where"),
    [
        (("quetsion",), "Why?", ""),
        (("seeds",), "1, 2", "seeds"),
        (("seeds",), [-1], "seeds.0"),
        (("seeds",), {"start": 4}, "seeds"),
        (("seeds",), {"start": 1, "max": 9}, "seeds.start"),
        (("seeds",), {"start": 4, "max": 9, "stop": 2}, "seeds"),
        (("alpha",), 0.7, "alpha"),
        (("design",), "factorail", "design"),
        (("set",), {"optim.lr": 0.1}, "set"),
        (("set",), {"optim.lr_max": "high"}, "set.optim.lr_max"),
        (("set",), {"optim.lr_max": -0.1}, "set.optim.lr_max"),
        (("set",), {"optim.lr_max": "${optim.lr_mix}"}, "set.optim.lr_max"),
        (("factors", "augmentation", "weak"), {"augment.noise": 1}, "factors.augmentation.weak"),
        (("factors", ".hidden"), {}, "factors"),
        (("hypotheses", "rate", "outcome"), "PER", "hypotheses.rate.outcome"),
        (("hypotheses", "rate", "margin"), 0, "hypotheses.rate.margin"),
        (("hypotheses", "rate", "contrast", "form"), "x", "hypotheses.rate.contrast"),
        (("extra_arms", "mine"), {"set": {"model.units": 3}}, "extra_arms.mine.set"),
        (("profiles", "large"), {"seed": [1]}, "profiles.large"),
        (("profiles", "large"), {"seeds": ["one"]}, "profiles.large.seeds.0"),
    ],
)
def test_mistake_in_an_ablation_is_marked_where_it_stands(
    ablation: dict[str, Any], keys: tuple[str, ...], value: Any, where: str
) -> None:
    ablation["hypotheses"] = {"rate": next(iter(ablation["hypotheses"].values()))}
    changed = copy.deepcopy(ablation)
    place = changed
    for key in keys[:-1]:
        place = place.setdefault(key, {})
    assert complaints(FileKind.ablation, changed) == []
    place[keys[-1]] = value
    assert complaints(FileKind.ablation, changed) == [where]


def test_required_keys_are_missed(ablation: dict[str, Any]) -> None:
    del ablation["seeds"]
    assert complaints(FileKind.ablation, ablation) == [""]


@pytest.mark.parametrize("level", [0.005, 5, True, None, "high"])
def test_level_may_be_named_by_what_yaml_reads_as_no_text(
    ablation: dict[str, Any], level: object
) -> None:
    ablation["factors"]["learning_rate"] = {level: {}, "low": {"optim.lr_max": 0.002}}
    ablation["hypotheses"]["rate"] = {
        **next(iter(ablation["hypotheses"].values())),
        "contrast": {"factor": "learning_rate", "from": level, "to": "low"},
        "where": {"learning_rate": level},
    }
    assert complaints(FileKind.ablation, ablation) == []


@pytest.mark.parametrize(
    ("changes", "where"),
    [
        ({"space": {"optim.lr": {"log": [1e-4, 1e-2]}}}, "space"),
        ({"space": {"optim.lr_max": {"log": [1e-4]}}}, "space.optim.lr_max.log"),
        ({"space": {"optim.lr_max": {"log": ["a", "b"]}}}, "space.optim.lr_max.log"),
        ({"objectives": {"accuracy": "maximize"}}, "objectives"),
        ({"sampler": "annealing"}, "sampler"),
        ({"confirm": {"seeds": [1, 2]}}, "confirm"),
    ],
)
def test_mistake_in_a_search_is_marked(changes: dict[str, Any], where: str) -> None:
    document = load_yaml(ABLATIONS / "lr_search.yaml") | changes
    assert complaints(FileKind.search, document) == [where]


@pytest.mark.parametrize(
    ("changes", "where"),
    [
        ({"optimizer": {}}, ""),
        ({"optim": {"lr": 0.1}}, "optim"),
        ({"optim": {"lr_max": "high"}}, "optim.lr_max"),
        ({"optim": {"grad_clip": None}}, None),
        ({"model": {"architecture": "rnn"}}, "model.architecture"),
    ],
)
def test_mistake_in_a_decoder_configuration_is_marked(
    changes: dict[str, Any], where: str | None
) -> None:
    assert complaints(FileKind.decoder, changes) == ([] if where is None else [where])


def test_every_config_path_takes_a_value_of_its_own_type_or_a_reference() -> None:
    values = VALIDATORS[FileKind.ablation].schema["$defs"]["Changes"]["properties"]
    assert list(values) == list(config_paths())
    defaults = {path: marks.default for path, marks in config_paths().items()}
    references = {path: f"${{{path}}}" for path in config_paths()}
    for changes in (defaults, references):
        assert complaints(FileKind.ablation, {**_smallest(), "set": changes}) == []


def test_every_key_of_an_ablation_is_explained() -> None:
    for model in _sections(AblationSpec):
        texts = attribute_texts(model)[1]
        assert set(texts) >= set(model.model_fields), model
        assert set(texts) <= set(model.model_fields), model


def test_every_section_of_a_decoder_is_explained() -> None:
    for model in _sections(DecoderConfig):
        whole, texts = attribute_texts(model)
        assert whole
        assert set(texts) <= set(model.model_fields), model


def test_description_is_the_docstrings_entry_with_its_lines_joined() -> None:
    class Example(Section):
        """An example.

        Attributes:
            first: begins here
                and ends here; None is none.
            second, third: ``fourth`` with them.

        More on it.
        """

        first: int | None
        second: int
        third: int
        fourth: int
        fifth: int

    whole, texts = attribute_texts(Example)
    assert whole == "An example.\n\nMore on it."
    shared = "`fourth` with them."
    assert texts == {
        "first": "begins here and ends here; null is none.",
        "second": shared,
        "third": shared,
        "fourth": shared,
    }


def _sections(annotation: Any) -> Iterator[type[Section]]:
    """Every section that a type mentions, and the sections within those."""
    if isinstance(annotation, type) and issubclass(annotation, Section):
        yield annotation
        for field in annotation.model_fields.values():
            yield from _sections(field.annotation)
    for part in get_args(annotation):
        yield from _sections(part)


def _smallest() -> dict[str, Any]:
    return {"name": "a", "question": "Why?", "base": "b.yaml", "factors": {}, "seeds": [1]}


@pytest.mark.parametrize(
    ("changes", "where"),
    [
        ({}, None),
        ({"set": {"model.depth": 3}}, None),
        ({"prior": {"beam_score": 0.1}}, None),
        ({"trainer": {**SPEC["trainer"], "metrics": {"per": {"name": "P"}}}}, None),
        ({"trainer": {**SPEC["trainer"], "pass": "flag"}}, "trainer.pass"),
        ({"trainer": {**SPEC["trainer"], "metric": {}}}, "trainer"),
        ({"base": "base/t15_small.yaml"}, ""),
        ({"quetsion": "Why?"}, ""),
        ({"profiles": {"long": {"trainer": SPEC["trainer"]}}}, None),
        ({"profiles": {"long": {"base": "x.yaml"}}}, "profiles.long"),
    ],
)
def test_a_file_with_a_trainer_has_keys_of_that_trainer(
    changes: dict[str, Any], where: str | None
) -> None:
    assert complaints(FileKind.ablation, {**SPEC, **changes}) == ([] if where is None else [where])


def test_a_search_with_a_trainer_searches_any_of_its_keys() -> None:
    search = {
        "name": "tuned",
        "question": "?",
        "trainer": SPEC["trainer"],
        "space": {"lr": {"log": [0.001, 0.1]}},
        "objectives": {"wer": "minimize"},
        "n_candidates": 4,
        "seeds": [1],
    }
    assert complaints(FileKind.search, search) == []
    assert complaints(FileKind.search, {**search, "space": {"lr": {"log": [1]}}}) == [
        "space.lr.log"
    ]
    assert complaints(FileKind.search, {k: v for k, v in search.items() if k != "trainer"}) != []
