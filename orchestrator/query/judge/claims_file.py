"""The claims file of `judge`: its keys, and the mistakes in it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError

from decoder.errors import ConfigError
from decoder.marks import Section
from decoder.strict_yaml import load_yaml
from decoder.yaml_lines import with_lines
from orchestrator.spec.check_claims import claim_problems
from orchestrator.spec.keys import explain_file
from orchestrator.spec.names import level_text
from orchestrator.spec.schema import (
    AblationSpec,
    Alpha,
    CollapseSpec,
    Criterion,
    Hypothesis,
    Name,
    Sentence,
)
from orchestrator.spec.seeds import Seed

ConditionText = Annotated[str, Field(min_length=1, max_length=2000)]
Accepted = Literal["budgets", "data", "lengths"]
BASE = "(runs that exist)"  # in place of a base configuration, which a judgement does not have


class ClaimsFile(Section):
    """Hypotheses over runs that exist.

    Attributes:
        name: the name of the results folder.
        question: the question, in a sentence or two.
        where: a condition that every run meets; None takes all runs that were named.
        factors: factor → level → the condition of its runs. An arm is one level of each factor.
        block: what pairs the runs of the arms: a column or setting, or block → the condition of
            its runs.
        blocks: the numbers of the blocks that are judged; None takes every block.
        columns: for tables: name of ours → header of the column that holds it.
        accept: differences between arms that are judged in spite of them: other ``budgets``,
            other ``data``, or courses of other ``lengths``.
        hypotheses, criteria, collapse, alpha: as in an ablation.
    """

    name: Name
    question: Sentence
    where: ConditionText | None = None
    factors: Annotated[
        dict[Name, Annotated[dict[Name, ConditionText], Field(min_length=2, max_length=1000)]],
        Field(min_length=1, max_length=50),
    ]
    block: ConditionText | Annotated[dict[Name, ConditionText], Field(min_length=2)] = "seed"
    blocks: Annotated[tuple[Seed, ...], Field(strict=False, min_length=1)] | None = None
    columns: dict[Annotated[str, Field(pattern=r"^[A-Za-z_][\w.]*$")], str] = Field(
        default_factory=dict
    )
    accept: Annotated[tuple[Accepted, ...], Field(strict=False)] = ()
    hypotheses: Annotated[dict[Name, Hypothesis], Field(min_length=1, max_length=500)]
    criteria: dict[Name, Criterion] = Field(default_factory=dict, max_length=500)
    collapse: CollapseSpec = CollapseSpec()
    alpha: Alpha = 0.05

    def as_ablation(
        self, arms: Mapping[str, Mapping[str, str]], seeds: tuple[int, ...]
    ) -> AblationSpec:
        """The specification that tables, verdicts and report read.

        Args:
            arms: arm → its level of every factor.
            seeds: the numbers of the blocks.
        """
        n_cells = 1
        for levels in self.factors.values():
            n_cells *= len(levels)
        is_full = len(arms) == n_cells
        return AblationSpec(
            name=self.name,
            question=self.question,
            base=BASE,
            factors={f: {level: {} for level in levels} for f, levels in self.factors.items()},
            design="factorial" if is_full else "arms",
            arms={} if is_full else {arm: dict(levels) for arm, levels in arms.items()},
            seeds=seeds,
            hypotheses=self.hypotheses,
            criteria=self.criteria,
            collapse=self.collapse,
            alpha=self.alpha,
        )


def load_claims(path: Path) -> ClaimsFile:
    """Read and check a claims file.

    Raises:
        ConfigError: every mistake found, one line each, as ``file: key.path: complaint``.
    """
    document = _with_names(load_yaml(path))
    if "base" in document or "seeds" in document:
        raise ConfigError(
            f"{path}: has the keys of an ablation, which `run` trains; a claims file names runs "
            "that exist by conditions under 'factors', and has neither 'base' nor 'seeds'"
        )
    try:
        claims = ClaimsFile.model_validate(document)
    except ValidationError as error:
        found = [f"{path}: {text}" for text in explain_file(ClaimsFile, error, document)]
        raise ConfigError(with_lines(dict.fromkeys(found), path)) from None
    # As a list of arms, so that a slice may stay open that only one pair of arms fits.
    spec = claims.as_ablation({}, (0,)).model_copy(update={"design": "arms"})
    problems = [f"{path}: {text}" for text in claim_problems(spec, frozenset())]
    if problems:
        raise ConfigError(with_lines(problems, path))
    return claims


def is_claims_file(path: Path) -> bool:
    """Whether a YAML file has the keys of claims over runs that exist, not those of an ablation.

    Raises:
        ConfigError: it cannot be read.
    """
    document = load_yaml(path)
    return {"factors", "hypotheses"} <= set(document) and not {"base", "seeds"} & set(document)


def _with_names(document: Mapping[str, Any]) -> dict[str, Any]:
    """The document with the names of levels as text, which YAML may have read as numbers."""
    named = dict(document)
    if isinstance(factors := named.get("factors"), dict):
        named["factors"] = {
            level_text(factor): _named_keys(levels) for factor, levels in factors.items()
        }
    named["block"] = _named_keys(named.get("block", "seed"))
    if isinstance(hypotheses := named.get("hypotheses"), dict):
        named["hypotheses"] = {
            level_text(name): {
                key: _named_values(part) if key in ("contrast", "interaction", "where") else part
                for key, part in claim.items()
            }
            if isinstance(claim, dict)
            else claim
            for name, claim in hypotheses.items()
        }
    return named


def _named_keys(part: Any) -> Any:
    return {level_text(key): one for key, one in part.items()} if isinstance(part, dict) else part


def _named_values(part: Any) -> Any:
    if not isinstance(part, dict):
        return part
    return {level_text(key): level_text(one) for key, one in part.items()}
