"""The section ``trainer`` of a file: the user's own training script, and how it is called and read.

Nothing here executes it.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema, model_validator

from decoder.marks import Section
from orchestrator.spec.names import hint

PLACES = ("config", "out", "seed", "run_id", "settings")  # that a command may name in braces
STATED = "text:"  # before an entry of `data` that is a statement and not a path
# Outcomes that are found from a course and never mapped.
_FOUND = ("collapsed", "diverged", "escape_step", "best_per", "per_beam", "seconds")
_METRIC = "[a-z][a-z0-9_]{0,63}"
_WORD = re.compile(r"\{(\{[A-Za-z_]+\})\}|\{([A-Za-z_]+)\}")
_MOST = 1000  # words of a command, keys, patterns


def fill(text: str, values: Mapping[str, str]) -> str:
    """Replace ``{name}`` by its value; ``{{name}}`` is the text ``{name}``, and the rest stays.

    Args:
        values: name → value, some of `PLACES`.
    """
    return _WORD.sub(lambda found: found[1] or values.get(found[2], found[0]), text)


def places_in(text: str) -> Iterator[str]:
    """The names in braces in a text."""
    return (found[2] for found in _WORD.finditer(text) if found[2])


def _check_places(text: str) -> str:
    for name in places_in(text):
        if name not in PLACES:
            raise ValueError(
                f"'{{{name}}}' stands for nothing{hint(name, PLACES)}; for the text itself write "
                f"{{{{{name}}}}}"
            )
    return text


def _check_words(words: tuple[str, ...]) -> tuple[str, ...]:
    for word in words:
        if "settings" in places_in(word) and word != "{settings}":
            raise ValueError(
                f"'{word}': {{settings}} becomes many words, so it must be a word of its own"
            )
    return words


def _check_metric(name: str) -> str:
    if name in _FOUND:
        raise ValueError(f"'{name}' is found from the course and cannot be mapped; leave it out")
    if re.fullmatch(_METRIC, name) is None:
        raise ValueError(
            f"'{name}' is not a name for a metric; use a-z 0-9 _ and a letter first, for example "
            "per or val_loss"
        )
    return name


def _check_variable(name: str) -> str:
    if re.fullmatch("[A-Za-z_][A-Za-z0-9_]*", name) is None:
        raise ValueError(f"'{name}' is not a name for an environment variable")
    return name


Word = Annotated[str, Field(max_length=10_000), AfterValidator(_check_places)]
Words = Annotated[
    tuple[Word, ...],
    Field(strict=False, min_length=1, max_length=_MOST),
    AfterValidator(_check_words),
]
Text = Annotated[str, Field(min_length=1, max_length=1000)]
Texts = Annotated[tuple[Text, ...], Field(strict=False, max_length=_MOST)]
MetricName = Annotated[
    str,
    AfterValidator(_check_metric),
    WithJsonSchema({"type": "string", "pattern": f"^{_METRIC}$"}),
]


class MetricSource(Section):
    """Where a metric stands in the trainer's course.

    Attributes:
        name: the trainer's own name: a column, a JSON key, a tag, or the text before the number in
            a line of a log.
        unit: ``percent`` where the trainer writes 20.5 for a rate of 0.205.
    """

    name: Text
    unit: Literal["as_is", "percent"] = "as_is"


_Source = Annotated[
    MetricSource,
    BeforeValidator(
        lambda given: {"name": given} if isinstance(given, str) else given,
        json_schema_input_type=MetricSource | str,
    ),
]


class TrainerSection(Section):
    """A training script of the user's, run as a command for each run.

    Attributes:
        command: the words of the command; no shell reads them. ``{config}`` is the run's
            configuration file, ``{out}`` the folder for what it writes, ``{seed}`` its seed,
            ``{run_id}`` its id, and the word ``{settings}`` the changed settings as flags.
        cwd: the folder in which the command starts, relative to this file.
        base: the trainer's own configuration, YAML or JSON, relative to `cwd`. Factors change its
            keys by their dotted paths.
        pass_: how the command gets its settings (``pass`` in YAML): a ``file`` per run, ``flags``
            (``--key=value``), or ``hydra`` (``key=value``).
        copy_: whether each run has its own copy of `cwd` (``copy`` in YAML), in which its
            configuration replaces the base, for trainers that read a fixed file name.
        seed: the keys that get the seed.
        outputs: key → the value it gets, with ``{out}``.
        course: the file or folder with the evaluations, with ``{out}``; or ``stdout``.
        metrics: name of a metric → the trainer's name for it. `step` may be one of them.
        steps: the key that holds the number of training steps; None if there is none.
        code: patterns of the files that the trainer consists of, relative to `cwd`. Their hashes
            are part of a run's identity.
        data: keys whose values are paths of recordings, paths, or ``text:`` and a statement, such
            as ``text:release 2``. They identify the recordings.
        environment: variables added to the environment of the command.
        gpus: GPUs of a run; a fraction shares one.
        hours: the longest a run may take; None is no limit.
        resume: the words of a command that continues a run from the trainer's own checkpoint.
        repeat: whether the base is trained a second time with the same seeds, which shows how much
            results vary without any change.
        new_keys: keys that the base lacks and the trainer knows.
    """

    command: Words
    cwd: Text = "."
    base: Text
    pass_: Annotated[Literal["file", "flags", "hydra"], Field(alias="pass")] = "file"
    copy_: Annotated[bool, Field(alias="copy")] = False
    seed: Texts = ()
    outputs: Annotated[dict[str, Word], Field(max_length=_MOST)] = Field(default_factory=dict)
    course: Word
    metrics: Annotated[dict[MetricName, _Source], Field(min_length=1, max_length=200)]
    steps: Text | None = None
    code: Annotated[Texts, Field(min_length=1)]
    data: Texts = ()
    environment: Annotated[
        dict[Annotated[str, AfterValidator(_check_variable)], Word], Field(max_length=_MOST)
    ] = Field(default_factory=dict)
    gpus: Annotated[float, Field(ge=0, le=1024)] = 0
    hours: Annotated[float, Field(gt=0, le=10_000)] | None = None
    resume: Words | None = None
    repeat: bool = True
    new_keys: Texts = ()

    @model_validator(mode="after")
    def _check(self) -> Self:
        named = {name for word in self.command for name in places_in(word)}
        of_environment = {name for word in self.environment.values() for name in places_in(word)}
        if self.pass_ == "file" and not self.copy_ and "config" not in named:
            raise ValueError(
                "the command does not name {config}, so the trainer would not see a run's "
                'settings; add it, for example "--config", "{config}", or write copy: true if the '
                "trainer reads a file of a fixed name"
            )
        if self.pass_ == "file" and "settings" in named:
            raise ValueError("{settings} needs pass: flags or pass: hydra")
        if not self.seed and "seed" not in named | of_environment:
            raise ValueError(
                "nothing gets the seed, so all seeds would train the same; write "
                "seed: [the key of the seed], or {seed} in the command"
            )
        if set(self.metrics) <= {"step"}:
            raise ValueError("metrics: must have a metric beside step; write for example per")
        if twice := {*self.seed} & {*self.outputs}:
            raise ValueError(f"'{min(twice)}' stands under seed and under outputs; keep one")
        if self.copy_ and self.pass_ != "file":
            raise ValueError("copy: true replaces the base file in the copy; it needs pass: file")
        return self

    @property
    def own_keys(self) -> frozenset[str]:
        """The keys that a run sets itself: those of its seed and of its outputs."""
        return frozenset({*self.seed, *self.outputs})

    @property
    def outcomes(self) -> tuple[str, ...]:
        """What a claim may be about: the metrics that are mapped, and what follows from them."""
        mapped = [name for name in self.metrics if name != "step"]
        by_plateau = {"emitted_ratio", "n_distinct"} <= self.metrics.keys()
        plateau = ("collapsed", "escape_step") if by_plateau else ()
        return (*mapped, "diverged", *plateau)

    def identity(self) -> dict[str, Any]:
        """What can change a result beside settings, code, data and seed.

        A variable whose value has a slash is a path of a machine, which does not count.
        """
        variables = {
            name: value
            for name, value in sorted(self.environment.items())
            if "/" not in value and not {*places_in(value)} & {"config", "out", "run_id"}
        }
        found = {
            "command": list(self.command),
            "pass": self.pass_,
            "copy": self.copy_,
            "seed": list(self.seed),
        }
        return {**found, **({"environment": variables} if variables else {})}
