"""What newcomers write in a specification, and the facts that the message names: key, got, mend."""

import re
from pathlib import Path

import pytest

from decoder.errors import ConfigError
from orchestrator.search.load import load_search
from orchestrator.spec.load import load_spec
from orchestrator.spec.slips import ascii_name

BASE = """\
data: {path: "synthetic:tiny", batch_size: 4, days_per_batch: 2}
model: {n_units: 8, n_layers: 1}
optim:
  lr_warmup_steps: 2
  lr_max: 0.005
train: {n_steps: 60, eval_every_steps: 20}
"""
ABLATION = """\
name: rates
question: Does a lower rate help?
base: base.yaml
set:
  train.n_steps: 80
factors:
  rate:
    high: {optim.lr_max: 0.005}
    low: {optim.lr_max: 0.002}
  noise:
    strong: {augment.white_noise_std: 1.0}
    weak: {augment.white_noise_std: 0.25}
seeds: [1, 2, 3, 4, 5, 6]
hypotheses:
  lower_helps:
    claim: A lower rate lowers PER.
    contrast: {factor: rate, from: high, to: low}
    where: {noise: strong}
    outcome: per
    direction: decrease
    margin: 0.02
"""
SEARCH = """\
name: hunt
question: Which rate is best?
base: base.yaml
space:
  optim.algorithm: {choice: [adamw, sgd]}
  optim.lr_max:
    log: [0.0005, 0.05]
objectives: {per: minimize}
n_candidates: 4
seeds: [1]
"""
# Words of the language that the program is written in, which a user's file knows nothing of.
PYTHON_WORDS = re.compile(
    r"\b([Tt]uple|dict|dictionary|str|int|bool|NoneType|None|True|False|list\[|instance of|"
    r"valid (integer|string|number|boolean|list|tuple|dictionary)|[Ll]iteral|Field required|"
    r"should be|Extra inputs|type=)\b"
)

LEVELS = "\n    high: {optim.lr_max: 0.005}\n    low: {optim.lr_max: 0.002}"
# Mistake → (line it is written in, what is replaced, by what, facts of the message).
IN_ABLATIONS = {
    "number of seeds": (13, "[1, 2, 3, 4, 5, 6]", "5", ("seeds", "got 5", "[1, 2, 3, 4, 5]")),
    "many seeds": (13, "[1, 2, 3, 4, 5, 6]", "50", ("seeds", "got 50", "[1, 2, 3, ...]")),
    "seeds as a range": (13, "[1, 2, 3, 4, 5, 6]", "1-4", ("seeds", "'1-4'", "[1, 2, 3, 4]")),
    "seeds without brackets": (13, "[1, 2, 3, 4, 5, 6]", "1, 2, 3", ("seeds", "[1, 2, 3]")),
    "seeds as code": (13, "[1, 2, 3, 4, 5, 6]", "range(5)", ("seeds", "[1, 2, 3, 4, 5]")),
    "seed as text": (13, "[1, 2,", "[one, 2,", ("seeds.0", "a whole number", "'one'")),
    "seed for seeds": (13, "seeds:", "seed:", ("seed", "seeds: [1, 2, 3, 4, 5]")),
    "CER": (19, "outcome: per", "outcome: cer", ("'cer'", "not computed", "write per")),
    "WER by its long name": (
        *(19, "outcome: per", "outcome: word_error_rate"),
        ("'word_error_rate'", "wer"),
    ),
    "WER without words": (
        *(19, "outcome: per", "outcome: wer"),
        ("'wer'", "not decoded to words", "evaluation.words.decoder", "beam"),
    ),
    "capitals": (19, "outcome: per", "outcome: PER", ("'PER'", "'per'")),
    "loss": (19, "outcome: per", "outcome: loss", ("'loss'", "write val_loss")),
    "accuracy": (19, "outcome: per", "outcome: accuracy", ("'accuracy'", "not computed", "per")),
    "collapse": (19, "outcome: per", "outcome: collapse", ("'collapse'", "write collapsed")),
    "both ways": (20, "decrease", "both", ("direction", "'both'", "write either")),
    "two-sided": (20, "decrease", "two-sided", ("direction", "'two-sided'", "write either")),
    "lower": (20, "decrease", "lower", ("direction", "'lower'", "write decrease")),
    "less": (20, "decrease", "less", ("direction", "'less'", "write decrease")),
    "higher": (20, "decrease", "higher", ("direction", "'higher'", "write increase")),
    "equal": (20, "decrease", "same", ("direction", "'same'", "write no_difference")),
    "direction in capitals": (20, "decrease", "Decrease", ("direction", "'decrease'")),
    "margin in percent": (21, "0.02", "2%", ("margin", "a number", "'2%'", "write 0.02")),
    "margin with a comma": (21, "0.02", "0,02", ("margin", "'0,02'", "write 0.02")),
    "margin in points": (21, "0.02", "2", ("margin", "below 1", "got 2", "0.02")),
    "negative margin": (21, "0.02", "-0.02", ("margin", "above 0", "write 0.02", "direction")),
    "quoted margin": (21, "0.02", '"0.02"', ("margin", "'0.02'", "remove the quotes")),
    "no margin": (15, "    margin: 0.02\n", "", ("lower_helps.margin", "required", "add it")),
    "threshold": (21, "margin:", "threshold:", ("threshold", "margin: ...")),
    "contrast as text": (17, "{factor: rate, from: high, to: low}", "low", ("factor, from, to",)),
    "unknown level": (17, "to: low", "to: lo", ("'lo'", "factor 'rate'", "'low'")),
    "contrast with a path": (17, "factor: rate", "factor: optim.lr_max", ("config path",)),
    "where without a level": (18, "{noise: strong}", "{}", ("where", "'noise'", "noise: strong")),
    "name with accents": (1, "rates", "débit_β", ("name", "'débit_β'", "debit_beta")),
    "name with a space": (1, "rates", "my rates", ("name", "'my rates'", "my_rates")),
    "missing base": (3, "base.yaml", "bse.yaml", ("base", "'bse.yaml'", "'base.yaml'")),
    "path of another trainer": (5, "train.n_steps", "epochs", ("'epochs'", "train.n_steps")),
    "width": (8, "optim.lr_max: 0.005", "model.width: 64", ("'model.width'", "model.n_units")),
    "misspelt path": (8, "optim.lr_max", "optim.lr_mx", ("'optim.lr_mx'", "'optim.lr_max'")),
    "whole number as a power": (5, "80", "1e3", ("train.n_steps", "whole number", "write 1000")),
    "off for null": (5, "train.n_steps: 80", "optim.grad_clip: off", ("a number", "null")),
    "truth value": (5, "train.n_steps: 80", "augment.smooth: yes", ("true or false", "write true")),
    "levels in a list": (
        *(7, LEVELS, " [0.005, 0.002]"),
        ("factors.rate", "[0.005, 0.002]", "{0.005: {optim.lr_max: 0.005}"),
    ),
    "level as a value": (
        *(8, "{optim.lr_max: 0.005}", "0.005"),
        ("factors.rate.high", "got 0.005", "{optim.lr_max: 0.005}"),
    ),
    "one level": (
        *(10, "    weak: {augment.white_noise_std: 0.25}\n", ""),
        ("factors.noise", "two or more", "'strong'"),
    ),
    "design of another tool": (6, "factors:", "design: grid\nfactors:", ("write factorial",)),
    "alpha in percent": (6, "factors:", "alpha: 5\nfactors:", ("alpha", "got 5", "as 0.05")),
    "a tab": (8, "    high", "\thigh", ("a tab", "spaces")),
    "no space after a colon": (1, "name: rates", "name:rates", ("a colon without a space",)),
    "a colon in a sentence": (2, "help?", "help: yes?", ("': '", "quotes")),
    "an open bracket": (13, "5, 6]", "5, 6", ("bracket", "not closed")),
    "a key twice": (3, "base: base.yaml", "name: again", ("'name'", "twice", "line 1")),
}  # fmt: skip
IN_SEARCHES = {
    "loguniform": (7, "log:", "loguniform:", ("'loguniform'", "log: [low, high]")),
    "min and max": (7, "log: [0.0005, 0.05]", "min: 0.0005", ("'min'", "uniform: [low, high]")),
    "values": (7, "log: [0.0005, 0.05]", "values: [1, 2]", ("'values'", "choice: [one, other]")),
    "bare range": (6, "\n    log: [0.0005, 0.05]", " [0.0005, 0.05]", ("{log: [0.0005, 0.05]}",)),
    "bare value": (6, "\n    log: [0.0005, 0.05]", " 0.05", ("got 0.05", "'set'")),
    "one end": (7, "[0.0005, 0.05]", "[0.0005]", ("log", "list of 2 values", "[0.0005]")),
    "three ends": (7, "[0.0005, 0.05]", "[1, 2, 3]", ("log", "most 2 values", "[1, 2, 3]")),
    "ends as text": (7, "[0.0005, 0.05]", "[low, 0.05]", ("log.0", "a number", "'low'")),
    "range as a number": (7, "[0.0005, 0.05]", "0.05", ("log", "got 0.05", "[low, high]")),
    "worst decoder": (8, "minimize", "maximize", ("per", "worst", "per: minimize")),
    "max": (8, "minimize", "min", ("objectives.per", "'min'", "write minimize")),
    "objective of another tool": (8, "{per:", "{cer:", ("'cer'", "not computed", "write per")),
    "WER without words": (8, "{per:", "{wer:", ("'wer'", "evaluation.words.decoder", "beam")),
    "sampler": (4, "space:", "sampler: bayesian\nspace:", ("'bayesian'", "write tpe")),
    "trials": (9, "n_candidates", "n_trials", ("n_trials", "n_candidates")),
    "number of seeds": (10, "[1]", "3", ("seeds", "got 3", "[1, 2, 3]")),
    "when with a list": (
        *(8, "[0.0005, 0.05]", "[0.0005, 0.05]\n    when: {optim.algorithm: [adamw, adam]}"),
        ("when.optim.algorithm", "['adamw', 'adam']", "optim.algorithm: adamw", "leave 'when' out"),
    ),
    "when that never holds": (
        *(8, "[0.0005, 0.05]", "[0.0005, 0.05]\n    when: {optim.algorithm: null}"),
        ("never null", "['adamw', 'sgd']"),
    ),
}  # fmt: skip
IN_BASES = {
    "unknown key": (4, "lr_warmup_steps", "warmup", ("optim.warmup", "lr_warmup_steps")),
    "wrong kind": (5, "0.005", "fast", ("optim.lr_max", "a number", "'fast'")),
    "section as a value": (2, "{n_units: 8, n_layers: 1}", "8", ("model", "mapping", "got 8")),
}


def messages(folder: Path, kind: str, old: str, new: str) -> tuple[str, ...]:
    """The complaints about a file in which one text is replaced."""
    texts = {"base.yaml": BASE, "ablation.yaml": ABLATION, "search.yaml": SEARCH}
    assert old in texts[kind]
    texts[kind] = texts[kind].replace(old, new, 1)
    for name, text in texts.items():
        (folder / name).write_text(text)
    with pytest.raises(ConfigError) as caught:
        if kind == "search.yaml":
            load_search(folder / kind)
        else:
            load_spec(folder / "ablation.yaml")
    return caught.value.problems


CASES = [
    pytest.param(kind, *case, id=f"{kind[:-5]}: {name}")
    for kind, cases in (
        ("ablation.yaml", IN_ABLATIONS),
        ("search.yaml", IN_SEARCHES),
        ("base.yaml", IN_BASES),
    )
    for name, case in cases.items()
]


@pytest.mark.parametrize(("kind", "line", "old", "new", "facts"), CASES)
def test_a_mistake_is_one_line_with_its_line_number_and_what_to_write(
    tmp_path: Path, kind: str, line: int, old: str, new: str, facts: tuple[str, ...]
) -> None:
    found = messages(tmp_path, kind, old, new)
    message = found[0]
    start = f"{tmp_path / kind}:{line}: "
    assert message.startswith(start), message
    said = message.removeprefix(start)
    assert all(fact in said for fact in facts), said
    assert PYTHON_WORDS.search(said.replace("int: [low, high]", "")) is None, said
    assert "\n" not in message
    assert len(found) == 1, found


def test_there_are_at_least_forty_mistakes() -> None:
    assert len(CASES) >= 40


def test_the_shapes_without_a_mistake_are_sound(tmp_path: Path) -> None:
    for name, text in (("base.yaml", BASE), ("a.yaml", ABLATION), ("s.yaml", SEARCH)):
        (tmp_path / name).write_text(text)
    assert len(load_spec(tmp_path / "a.yaml").arms) == 4
    assert len(load_search(tmp_path / "s.yaml").arms) == 1


def test_a_valid_name_is_made_of_letters_that_are_not_plain() -> None:
    assert ascii_name("ablación_ñ") == "ablacion_n"
    assert ascii_name("α=0.8") == "alpha_0.8"
    assert ascii_name("雑音") == ""
