"""What a file of the user's registers: parts of a decoder, each with a name and typed parameters.

    >>> from decoder.parts import PER_RUN, Parameters, Probability, augmentation
    >>> class Mix(Parameters):
    ...     p: Annotated[Probability, PER_RUN] = 0.1
    >>> @augmentation("channel_mix", Mix)
    ... def channel_mix(x, n_bins, runs, generator): ...

The parameters become config paths ``parts.NAME.PARAMETER``, beside ``parts.NAME.use``, which is
false unless a configuration says otherwise. `docs/extensions.md` says what each kind of part is
called with. This module loads no torch.

Dimensions: R runs, B batch, T bins, P patches, F features, D inputs, H outputs, C classes,
L labels.
"""

import functools
import inspect
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, TypeVar

from pydantic import ValidationError, create_model
from pydantic_core import to_json

from decoder.entries import KIND, USE
from decoder.errors import ConfigError
from decoder.marks import (
    PER_RUN,
    Bins,
    Count,
    NonNegativeReal,
    PositiveBins,
    PositiveCount,
    PositiveReal,
    Probability,
    Real,
    Section,
    Share,
    Steps,
    Width,
)

__all__ = [
    "PER_RUN",
    "Bins",
    "Count",
    "Kind",
    "NonNegativeReal",
    "Parameters",
    "Part",
    "PositiveBins",
    "PositiveCount",
    "PositiveReal",
    "Probability",
    "Real",
    "Share",
    "Steps",
    "Width",
    "augmentation",
    "encoder",
    "layer",
    "loss",
    "metric",
]

Kind = Literal["augmentation", "layer_before", "layer_after", "encoder", "loss", "metric"]
MODULES = ("layer_before", "layer_after", "encoder")  # the kinds with weights

_NAME = re.compile(r"[a-z][a-z0-9_]{0,39}")
_Made = TypeVar("_Made", bound=Callable[..., Any])


class Parameters(Section):
    """Base class of the parameters of a part; every field has a default.

    A field annotated with `PER_RUN` may differ between the runs of a pack. Mark a field so only if
    it changes neither the shape of a tensor nor what is drawn.
    """


class ParameterMarks(NamedTuple):
    """Whether the runs of a pack may differ in a parameter, and its default as a JSON value."""

    per_run: bool
    default: Any


@dataclass(frozen=True)
class Part:
    """One registered part.

    Attributes:
        made: the function or class that was registered.
        parameters: the type of its parameters.
        packed: whether it handles all runs of a pack at once, on tensors with a leading axis R.
        file: absolute path of its file.
        line: where it is registered.
    """

    name: str
    kind: Kind
    made: Callable[..., Any]
    parameters: type[Parameters]
    packed: bool
    file: str
    line: int

    @property
    def where(self) -> str:
        """``file:line: KIND 'NAME'``, the start of every message about it."""
        return f"{self.file}:{self.line}: {self.title}"

    @property
    def title(self) -> str:
        """``KIND 'NAME'``."""
        return f"{self.kind.replace('_', ' ')} '{self.name}'"

    @functools.cached_property
    def fields(self) -> type[Section]:
        """Its parameters with ``use`` and ``kind``, as a configuration has them."""
        own: dict[str, Any] = {USE: (bool, False), KIND: (Literal[self.kind], self.kind)}
        return create_model(self.parameters.__name__, __base__=self.parameters, **own)

    @functools.cached_property
    def marks(self) -> dict[str, ParameterMarks]:
        """Parameter → its marks."""
        found = {}
        defaults = self.fields().model_dump(mode="json")
        for name, field in self.fields.model_fields.items():
            extra = field.json_schema_extra
            known = extra if isinstance(extra, dict) else {}
            found[name] = ParameterMarks(bool(known.get("per_run", False)), defaults[name])
        return found

    def settings(self, values: Mapping[str, Any]) -> Parameters:
        """The parameters as the part gets them: its values without ``use`` and ``kind``."""
        own = {name: value for name, value in values.items() if name not in (USE, KIND)}
        return from_json_values(self.parameters, own)


_Fields = TypeVar("_Fields", bound=Section)


def from_json_values(kind: type[_Fields], values: Mapping[str, Any]) -> _Fields:
    """Parameters from the values of a file, which has lists where a parameter is a tuple.

    Raises:
        ValidationError: of pydantic; a value is not allowed.
    """
    return kind.model_validate_json(to_json(dict(values), inf_nan_mode="constants", fallback=str))


_collected: list[Part] | None = None


@contextmanager
def collecting() -> Iterator[list[Part]]:
    """A context that collects what is registered in it. Outside of one, registering does nothing,
    so that a file can also be imported as any module.
    """
    global _collected
    before, _collected = _collected, []
    try:
        yield _collected
    finally:
        _collected = before


def augmentation(
    name: str, parameters: type[Parameters] = Parameters, *, packed: bool = True
) -> Callable[[_Made], _Made]:
    """Register an augmentation, the last one before the decoder; evaluation does without.

    It is called as ``f(x, n_bins, runs, generator)`` with x (R, B, T, F), n_bins (B,) int64, one
    parameter object for each run, and the generator of the step, and returns x's shape. Draw
    without the axis R, so that the runs of a pack share their draws. With ``packed=False`` it is
    called once for each run, with x (B, T, F) and one parameter object, and the same draws.
    """
    return _register(name, "augmentation", parameters, packed)


def layer(
    name: str,
    parameters: type[Parameters] = Parameters,
    *,
    place: Literal["before", "after"],
    packed: bool = False,
) -> Callable[[_Made], _Made]:
    """Register a layer before the patches or after the recurrent or transformer layers.

    It is called as ``f(n_inputs, parameters)`` and returns a module for one run, whose ``forward``
    takes (B, N, D), and `lengths` (B,) if it has a second parameter, and returns (B, N, H). N are
    bins before the patches, and patches after the layers. With ``packed=True`` it is called as
    ``f(n_inputs, runs, source)``, the module has parameters with a leading axis R drawn from the
    generator `source`, and ``forward`` takes (R, B, N, D).
    """
    kind: Kind = "layer_before" if place == "before" else "layer_after"
    return _register(name, kind, parameters, packed)


def encoder(
    name: str, parameters: type[Parameters] = Parameters, *, packed: bool = False
) -> Callable[[_Made], _Made]:
    """Register an encoder, which stands in the place of the recurrent or transformer layers.

    It is called as `layer` says, with patches (B, P, D) of ``model.patch_size`` bins, D =
    patch_size F.
    """
    return _register(name, "encoder", parameters, packed)


def loss(
    name: str, parameters: type[Parameters] = Parameters, *, packed: bool = True
) -> Callable[[_Made], _Made]:
    """Register a term that is added to the training loss; ``val_loss`` stays plain CTC.

    It is called as ``f(logits, labels, n_patches, n_labels, runs)`` with logits (R, P, B, C) of the
    last head, labels (B, L), n_patches and n_labels (B,), and returns (R,), with its weight in it.
    With ``packed=False`` it gets logits (P, B, C) and one parameter object, and returns a scalar.
    """
    return _register(name, "loss", parameters, packed)


def metric(
    name: str, parameters: type[Parameters] = Parameters, *, packed: bool = True
) -> Callable[[_Made], _Made]:
    """Register a metric of the evaluations, the column ``own_NAME`` of the history.

    It is called for each batch of validation trials as `loss` is, and returns a numerator and a
    denominator, each (R,). The metric is the sum of the numerators over all batches divided by
    that of the denominators. With ``packed=False`` both are scalars.
    """
    return _register(name, "metric", parameters, packed)


def _register(
    name: str, kind: Kind, parameters: type[Parameters], packed: bool
) -> Callable[[_Made], _Made]:
    def register(made: _Made) -> _Made:
        if _collected is not None:
            caller = inspect.stack()[1]
            part = Part(name, kind, made, parameters, packed, caller.filename, caller.lineno)
            _check(part)
            _collected.append(part)
        return made

    return register


def _check(part: Part) -> None:
    """Refuse a part that no configuration could name.

    Raises:
        ConfigError: its name, its parameters or its default values.
    """
    if not isinstance(part.name, str) or not _NAME.fullmatch(part.name):
        raise ConfigError(
            f"{part.where}: its name must be up to 40 lower-case letters, digits and '_', and "
            "start with a letter"
        )
    if not callable(part.made):
        raise ConfigError(f"{part.where}: must be a function or a class, but got {part.made!r}")
    kind = part.parameters
    if not (isinstance(kind, type) and issubclass(kind, Parameters)):
        raise ConfigError(
            f"{part.where}: its parameters must be a class that inherits from "
            f"decoder.parts.Parameters, but got {kind!r}"
        )
    for name, field in kind.model_fields.items():
        if name in (USE, KIND):
            raise ConfigError(
                f"{part.where}: a parameter is named '{name}', which every part has; rename it"
            )
        if field.is_required():
            raise ConfigError(
                f"{part.where}: parameter '{name}' has no default; give it one, since every config "
                "path has a value"
            )
    try:
        values = kind().model_dump(mode="json")
        from_json_values(kind, values)
    except ValidationError as error:
        first = error.errors()[0]
        at = ".".join(map(str, first["loc"]))
        raise ConfigError(
            f"{part.where}: the default of parameter '{at}' is not allowed: {first['msg']}"
        ) from None
    for name, value in kind():
        if isinstance(value, dict):
            mend = "is a mapping; use one parameter for each value"
        elif isinstance(value, list):
            mend = "is a list, which a module could change; use a tuple, as in tuple[int, ...]"
        else:
            continue
        raise ConfigError(f"{part.where}: parameter '{name}' {mend}")
