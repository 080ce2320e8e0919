"""Writes leave-one-out ablations: which of the changes between two configurations matter?"""

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import yaml

from decoder.atomic import write_atomically
from decoder.errors import ConfigError
from orchestrator.spec.load import load_spec
from orchestrator.spec.schema import AblationSpec, Changes

MARGIN = 0.02  # of PER
FEWEST_SEEDS = 6  # with fewer no paired claim can be supported, see `orchestrator.stats.power`
_LONGEST_NAME = 64
_LONGEST_FACTOR = 40
_NO_NAME = re.compile(r"[^A-Za-z0-9_]+")


@dataclass(frozen=True)
class TwoLevelFactor:
    """One change, as a factor with a level before and a level after it.

    Attributes:
        key: what changed, as the claim names it, such as ``optim.lr_max``.
        levels: the names of the two levels, see `orchestrator.spec.names.level_names`.
        before, after: config path → value at each level.
    """

    key: str
    levels: tuple[str, str]
    before: Changes
    after: Changes


def leave_one_out_ablation(
    name: str,
    question: str,
    base: str,
    factors: Sequence[TwoLevelFactor],
    *,
    common: Changes | None = None,
    direction: Literal["increase", "decrease"] = "increase",
    margin: float = MARGIN,
    n_seeds: int = FEWEST_SEEDS,
) -> AblationSpec:
    """The ablation that undoes each change while the others stay, with one claim per change.

    A single change makes a ``one_factor`` design, which trains the same two configurations.

    Args:
        base: its base configuration, relative to the file.
        factors: the changes, at least one.
        common: config path → value in every arm, on top of the base.
        margin: smallest difference of PER that matters.
        n_seeds: the fewest seeds; there are more if the claims need them to be testable together.

    Raises:
        ValidationError: a name, a factor or the question is not valid.
    """
    from orchestrator.stats.reach import untestable  # loads scipy

    names = factor_names([factor.key for factor in factors])
    beside = "With the other changes made, " if len(factors) > 1 else ""
    verb = "raises" if direction == "increase" else "lowers"
    document = {
        "name": name,
        "question": question,
        "base": base,
        **({"set": common} if common else {}),
        "factors": {
            of: dict(zip(factor.levels, (factor.before, factor.after), strict=True))
            for of, factor in zip(names, factors, strict=True)
        },
        "design": "leave_one_out" if len(factors) > 1 else "one_factor",
        "seeds": tuple(range(1, n_seeds + 1)),
        "hypotheses": {
            f"{of}_matters"[:_LONGEST_NAME]: {
                "claim": f"{beside}{factor.key} {after} instead of {before} {verb} PER.",
                "contrast": {"factor": of, "from": before, "to": after},
                "outcome": "per",
                "direction": direction,
                "margin": margin,
            }
            for of, factor in zip(names, factors, strict=True)
            for before, after in [factor.levels]
        },
    }
    spec = AblationSpec.model_validate(document)
    needed = [one.seeds_needed or 0 for one in untestable(spec).values()]
    return spec.model_copy(update={"seeds": tuple(range(1, max([n_seeds, *needed]) + 1))})


def factor_names(keys: Sequence[str]) -> list[str]:
    """A factor's name for each key: the field, preceded by its section where two share a field."""
    parts = [key.partition(".")[::2] if "." in key else ("", key) for key in keys]
    fields = [_as_name(field) for _, field in parts]
    n_with = Counter(fields)
    return [
        f"{_as_name(section)}-{field}" if section and n_with[field] > 1 else field
        for (section, _), field in zip(parts, fields, strict=True)
    ]


def _as_name(text: str) -> str:
    return _NO_NAME.sub("_", text)[:_LONGEST_FACTOR]


def ablation_text(spec: AblationSpec, comments: Iterable[str] = ()) -> str:
    """The ablation as YAML, with the keys that were set; comments, a line each, come first."""
    return yaml_text(spec.model_dump(mode="json", by_alias=True, exclude_unset=True), comments)


def yaml_text(document: Mapping[str, object], comments: Iterable[str] = ()) -> str:
    """A file of this project as YAML; comments, a line each, come first."""
    head = "".join(f"# {' '.join(comment.split())}\n" for comment in comments)
    return head + yaml.safe_dump(
        dict(document), sort_keys=False, allow_unicode=True, width=96, default_flow_style=None
    )


def write_ablation(
    path: Path, text: str, base: str | None = None, option: str = "--output"
) -> None:
    """Write an ablation to a file that does not exist yet, and check it by loading it.

    Args:
        base: its base configuration, to be written beside it as `base_path` says; None if the
            base lies elsewhere.
        option: the option of the command line that named the file, for complaints.

    Raises:
        ConfigError: a file exists, or the ablation is not valid. In both cases nothing is written.
        StorageError: a file cannot be written.
    """
    texts = {path: text} if base is None else {base_path(path): base, path: text}
    for one in reversed(texts):
        if one.exists():
            raise ConfigError(f"{option}: {one} exists; choose another name or remove the file")
    for one, content in texts.items():
        write_atomically(one, content.encode())
    try:
        load_spec(path)
    except ConfigError:
        for one in texts:
            one.unlink()
        raise


def base_path(path: Path) -> Path:
    """Where `write_ablation` puts the base of an ablation file."""
    return path.with_name(f"{path.stem}_base.yaml")
