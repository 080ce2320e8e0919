"""What newcomers write in a specification, and what they mean by it."""

import json
import re
import shlex
import unicodedata
from collections.abc import Mapping
from typing import Any

from decoder.complaints import yaml_text
from decoder.slips import PATHS, meant

_MOST_SEEDS = 20


def _all_mean(**meanings: str) -> dict[str, str]:
    """Meaning → words, turned into word → meaning."""
    return {word: meaning for meaning, words in meanings.items() for word in words.split()}


# Words are compared in small letters, with `_` for a space or a dash.
DIRECTIONS = _all_mean(
    either="both two_sided twosided two_tailed different difference change changes any unequal",
    decrease="lower less down smaller fewer reduce reduces reduction decreases drop drops negative",
    increase="higher more greater up larger bigger raise raises increases rise rises positive",
    no_difference="same equal equals equivalent no_change unchanged no_effect zero",
)
DESIGNS = _all_mean(
    factorial="full full_factorial grid all crossed cross product cartesian",
    one_factor="ofat oat one_at_a_time one_factor_at_a_time single star",
    leave_one_out="loo ablation remove_one drop_one",
    paired="zip zipped pairs parallel",
    path="greedy incremental cumulative stepwise additive sequential",
    fractional="fraction half fractional_factorial",
    arms="list listed custom explicit manual",
)
SAMPLERS = _all_mean(
    tpe="bayesian bayes bayesian_optimization optuna hyperopt default",
    gp="gaussian_process botorch",
    cmaes="cma cma_es evolution",
    qmc="sobol halton quasi_random lhs latin_hypercube",
    random="random_search uniform",
    grid="grid_search gridsearch exhaustive full",
)
SENSES = _all_mean(
    minimize="min minimise lower down less smallest decrease",
    maximize="max maximise higher up more largest increase",
)
_WORDS: Mapping[str, Mapping[str, str]] = {
    "direction": DIRECTIONS,
    "design": DESIGNS,
    "sampler": SAMPLERS,
    "objectives": SENSES,
}
_NOT_COMPUTED = {
    "cer": "the character error rate is not computed",
    "accuracy": "accuracy is not computed",
    "acc": "accuracy is not computed",
}
OUTCOME_WORDS = _all_mean(
    wer="word_error_rate wer_final final_wer val_wer",
    per="phoneme_error_rate error error_rate val_per final_per per_final test_per valid_per",
    collapsed="collapse collapses n_collapsed collapse_rate",
    diverged="diverge diverges divergence nan",
    escape_step="escape escape_steps steps_to_escape",
    val_loss="loss validation_loss valid_loss ctc_loss",
)
_LOG = "log: [low, high], searched on a logarithmic scale"
_UNIFORM = "uniform: [low, high]"
_CHOICE = "choice: [one, other]"
_KEYS: Mapping[str, str] = {
    **dict.fromkeys(("loguniform", "log_uniform", "logspace", "qloguniform", "geometric"), _LOG),
    **dict.fromkeys(("range", "float", "linspace", "quniform", "interval"), _UNIFORM),
    **dict.fromkeys(("min", "max", "low", "high", "from", "to"), f"{_UNIFORM}, or {_LOG}"),
    **dict.fromkeys(("values", "categorical", "choices", "options", "grid", "list"), _CHOICE),
    **dict.fromkeys(("randint", "integer", "int_range", "int_uniform"), "int: [low, high]"),
    **dict.fromkeys(
        ("type", "distribution", "dist"), f"one of {_LOG}; {_UNIFORM}; int: [low, high]; {_CHOICE}"
    ),
}
_SPEC_KEYS: Mapping[str, str] = {
    "seed": "seeds: [1, 2, 3, 4, 5]",
    "n_seeds": "seeds: [1, 2, 3, 4, 5]",
    "repeats": "seeds: [1, 2, 3, 4, 5], one for each repetition",
    "config": "base: base/t15_small.yaml",
    "base_config": "base: base/t15_small.yaml",
    "description": "question: ...",
    "title": "name: ..., and question: ...",
    "n_trials": "n_candidates: ..., since a trial is an attempted sentence here",
    "parameters": "factors: ... for an ablation, or space: ... for a search",
    "params": "factors: ... for an ablation, or space: ... for a search",
    "grid": "factors: ...; the design factorial, which is the default, combines all levels",
    "ablations": "factors: ...",
    "metric": "outcome: ... in a hypothesis",
    "steps": "set: {train.n_steps: ...}",
    "epochs": "set: {train.n_steps: ...}; training is counted in steps",
    "baseline": "from: ..., the level to compare with",
    "treatment": "to: ..., the level whose effect is claimed",
    "threshold": "margin: ..., the smallest effect that matters",
    "min_effect": "margin: ..., the smallest effect that matters",
    "hypothesis": "claim: ... in a hypothesis, and hypotheses: {name: {...}} in the file",
}
_TRAINER_KEYS: Mapping[str, str] = {
    **dict.fromkeys(
        ("cmd", "script", "args", "run", "program"), "command: [python, train.py, ...]"
    ),
    **dict.fromkeys(("config", "configuration", "yaml"), "base: the trainer's own configuration"),
    **dict.fromkeys(("dir", "workdir", "working_dir", "folder", "path"), "cwd: ..."),
    **dict.fromkeys(("log", "log_file", "history", "results", "evaluations"), "course: ..."),
    **dict.fromkeys(("metric", "outcome", "outcomes"), "metrics: {per: its name of the PER}"),
    **dict.fromkeys(("env", "variables"), "environment: {NAME: value}"),
    **dict.fromkeys(("timeout", "time_limit", "max_hours"), "hours: ..."),
    **dict.fromkeys(("output", "output_dir", "out"), 'outputs: {its key: "{out}"}'),
    **dict.fromkeys(("gpu", "n_gpus", "devices"), "gpus: ..."),
    **dict.fromkeys(("dataset", "data_dir", "recordings"), "data: [the key of their path]"),
    **dict.fromkeys(("n_steps", "max_steps", "budget"), "steps: the key of the number of steps"),
    "seeds": "seed: [the key that gets it]; the seeds themselves stand at the top of the file",
}


def outcome_hint(name: str) -> str:
    """Why an outcome that other tools have is not one here, or what it is called."""
    low = name.lower().replace("-", "_")
    if low in _NOT_COMPUTED:
        return f"; {_NOT_COMPUTED[low]}: write per for the phoneme error rate"
    return meant(name, OUTCOME_WORDS)


def mend(place: tuple[str, ...], got: Any) -> str:
    """What to write at a place where the shape of a file refuses a value or a key.

    Args:
        place: key path; for an unknown key it ends with that key.
        got: the value there.

    Returns:
        ``; write ...``, or nothing where no common slip is known.
    """
    key = place[-1] if place else ""
    is_list = isinstance(got, list)
    if len(place) > 1 and place[0] == "trainer":
        return _of_trainer(key, got)
    if key == "margin" and isinstance(got, float | int) and got < 0:
        return f"; a margin is a size: write {-got:g}, and say which way in 'direction'"
    if key == "alpha" and isinstance(got, float | int) and 0.5 <= got < 50:
        return f"; write {got} % as {got / 100:g}"
    if key == "seeds" and "looks" not in place and not is_list:
        return f"; {_seed_list(got)}"
    if key == "seeds" and is_list:
        return "; write how many seeds the look uses, for example 5"
    if len(place) > 1 and place[-2] == "when" and is_list:
        one = yaml_text(got[0]).strip("'") if got else "..."
        return (
            f"; write one value, such as {key}: {one}, or leave 'when' out: "
            "the search then varies it everywhere"
        )
    words = _WORDS.get(key) or _WORDS.get(place[-2] if len(place) > 1 else "")
    if isinstance(got, str) and words:
        return meant(got, words)
    if key in ("log", "uniform", "int") and "space" in place[:-2]:
        return f"; write {key}: [low, high]"
    if len(place) > 1 and "space" in place[:-1]:
        if place[-2] == "space":
            return _dimension(got)
        return f"; write {_KEYS[key.lower()]}" if key.lower() in _KEYS else ""
    if key == "levels" or (place and place[0] == "factors"):
        return _factor(place, got)
    return f"; write {_SPEC_KEYS[key.lower()]}" if key.lower() in _SPEC_KEYS else ""


def _of_trainer(key: str, got: Any) -> str:
    """What to write in the section `trainer`."""
    if key in ("command", "resume") and isinstance(got, str):
        try:
            words = shlex.split(got)
        except ValueError:
            words = got.split()
        return f"; no shell reads it: write each word, [{', '.join(map(json.dumps, words[:20]))}]"
    if isinstance(got, dict) and list(got.values()) == [None]:  # {out} without quotes
        return f'; put it in quotes: "{{{next(iter(got))}}}"'
    return f"; write {_TRAINER_KEYS[key.lower()]}" if key.lower() in _TRAINER_KEYS else ""


def ascii_name(name: str) -> str:
    """A valid name like `name`: accents left out, Greek letters by name, `_` for the rest."""
    text = ""
    for letter in unicodedata.normalize("NFKD", name[:200]):
        if re.fullmatch(r"[A-Za-z0-9._-]", letter):
            text += letter
        elif match := re.fullmatch(
            r"GREEK (?:SMALL|CAPITAL) LETTER (\w+)", unicodedata.name(letter, "")
        ):
            text += match[1].lower()
        elif not unicodedata.combining(letter):
            text += "_"
    return re.sub(r"_+", "_", text).strip("._")[:64]


def _seed_list(got: Any) -> str:
    text = yaml_text(got).strip("' ")
    if text.isdecimal() and int(text) > 0 and not isinstance(got, bool):
        n_seeds = int(text)
        if n_seeds <= _MOST_SEEDS:
            return f"write [{', '.join(map(str, range(1, n_seeds + 1)))}]"
        return f"write all {n_seeds} in a list: [1, 2, 3, ...]"
    numbers = re.findall(r"\d+", text)
    if re.fullmatch(r"\d+\s*(?:-|:|\.\.+)\s*\d+", text) and int(numbers[0]) < int(numbers[1]):
        seeds = range(int(numbers[0]), min(int(numbers[1]), int(numbers[0]) + _MOST_SEEDS) + 1)
        return f"write [{', '.join(map(str, seeds))}]"
    if re.fullmatch(r"[\d\s,;]+", text) and numbers:
        return f"write [{', '.join(numbers)}]"
    return "write for example [1, 2, 3, 4, 5]"


def _dimension(got: Any) -> str:
    """How the values of a dimension are written that was given without its kind."""
    if isinstance(got, list):
        values = yaml_text(got)
        is_range = len(got) == 2 and all(isinstance(one, int | float) for one in got)
        return f"; write {{choice: {values}}}" + (
            f", or {{log: {values}}} or {{uniform: {values}}} for a range" if is_range else ""
        )
    if isinstance(got, str | int | float) or got is None:
        return (
            "; write for example {log: [0.001, 0.1]} or {choice: [a, b]}; one value that does "
            "not vary goes under 'set'"
        )
    return ""


def _factor(place: tuple[str, ...], got: Any) -> str:
    """How a factor or level is written that was given by bare values."""
    field = PATHS.get(place[1], "section.field") if len(place) > 1 else ""
    field = place[1] if "." in "".join(place[1:2]) else field
    if len(place) == 2 and isinstance(got, list):
        levels = ", ".join(f"{yaml_text(one)}: {{{field}: {yaml_text(one)}}}" for one in got[:2])
        return f"; write each level with what it sets: {{{levels}}}"
    if len(place) == 3:
        value = "..." if got is None else yaml_text(got)
        return f"; write what the level sets: {{{field}: {value}}}"
    return ""
