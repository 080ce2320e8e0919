"""Follows the interpolations of a configuration (``${a.b}``, ``${oc.env:NAME,default}``).

The grammar and the results are those of OmegaConf, which Hydra and the official T15 trainer read
their files with. Nothing is executed: of OmegaConf's functions those are known that only read the
configuration or the environment, and functions that a program registers are refused by name.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any

from decoder.complaints import did_you_mean, yaml_text
from decoder.errors import ConfigError
from decoder.interpolation_text import OPEN, Mistake, Place, Text, start_of
from decoder.yaml_nodes import MOST_DEPTH

# Values that exist only while a program runs: the time, and what Hydra knows of its job.
_OF_A_RUNNING_PROGRAM = ("now", "hydra")


class _AsWritten(Exception):
    """A text depends on what is not known here, and stays as it is written."""


def follow(
    values: Mapping[str, Any],
    where: str,
    environment: Mapping[str, str] | None,
    may_stay: Callable[[str], bool] = lambda key: False,
) -> dict[str, Any]:
    """A copy of a configuration with every interpolation replaced by its value.

    Hydra's own block ``hydra``, and texts that ask for the time or for Hydra's job
    (``${now:...}``, ``${hydra:...}``), stay as they are written.

    Args:
        values: nested mappings and lists; not changed.
        where: the start of every error message, usually a file.
        environment: the variables that ``oc.env`` reads. None for a configuration that was used on
            another machine: texts that ask for a variable stay as they are written.
        may_stay: whether the text of a dotted key may stay as it is written where its
            interpolation leads nowhere.

    Raises:
        ConfigError: an interpolation names a key that does not exist, a variable that is not set
            and has no default, or a function that is not known; or keys refer to each other in a
            circle. All of them are named at once.
    """
    reader = _Reader(values, environment)
    problems: list[tuple[str, str]] = []
    followed = {
        name: value if name == "hydra" else _follow(value, (name,), reader, problems)
        for name, value in values.items()
    }
    if refused := [text for key, text in problems if not may_stay(key)]:
        raise ConfigError([f"{where}: {text}" for text in refused])
    return followed


def _follow(value: Any, at: Place, reader: "_Reader", problems: list[tuple[str, str]]) -> Any:
    if isinstance(value, Mapping):
        return {k: _follow(v, (*at, k), reader, problems) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_follow(v, (*at, i), reader, problems) for i, v in enumerate(value)]
    if not isinstance(value, str) or OPEN not in value:
        return value
    try:
        return reader.value(at)
    except _AsWritten:
        return value
    except Mistake as mistake:
        problems.append((_dotted(at), f"{_dotted(at)}: {yaml_text(value)} {mistake}"))
        return value


def has_interpolation(value: Any) -> bool:
    """Whether a value is a text with an interpolation that was not followed."""
    return isinstance(value, str) and OPEN in value


class _Reader:
    """Looks up keys of one configuration; each text is followed once."""

    def __init__(self, root: Mapping[str, Any], environment: Mapping[str, str] | None) -> None:
        self._root = root
        self._environment = environment
        self._known: dict[Place, Any] = {}
        self._waiting: list[Place] = []

    def value(self, at: Place) -> Any:
        """The value at a path, with everything in it followed.

        Raises:
            Mistake, _AsWritten: see there.
        """
        if at in self._known:
            return self._known[at]
        if at in self._waiting:
            circle = " → ".join(map(_dotted, (*self._waiting[self._waiting.index(at) :], at)))
            raise Mistake(f"leads back to itself ({circle})")
        if len(self._waiting) > MOST_DEPTH:
            raise Mistake(f"leads through more than {MOST_DEPTH} keys")
        written = self._written(at)
        self._waiting.append(at)
        try:
            if isinstance(written, Mapping):
                value: Any = {name: self.value((*at, name)) for name in written}
            elif isinstance(written, list | tuple):
                value = [self.value((*at, index)) for index in range(len(written))]
            elif isinstance(written, str) and OPEN in written:
                value = Text(written, at, self).whole()
            else:
                value = written
        finally:
            self._waiting.pop()
        self._known[at] = value
        return value

    def _written(self, at: Place) -> Any:
        """What the file holds at a path that exists."""
        value: Any = self._root
        for index, part in enumerate(at):
            if isinstance(value, str) and OPEN in value:  # a key of what another key leads to
                value = self.value(at[:index])
            value = value[part]
        return value

    def look_up(self, names: Place, relative_to: Place) -> Any:
        """The value of the key that an interpolation names."""
        at: Place = ()
        value: Any = self._root
        for name in (*relative_to, *names):
            if isinstance(value, str) and OPEN in value:
                value = self.value(at)
            part: str | int = name
            if isinstance(value, list | tuple) and str(name).lstrip("-").isdigit():
                part = int(name)
                if not -len(value) <= part < len(value):
                    raise Mistake(f"names {_dotted((*at, name))}, but there are {len(value)}")
                part %= len(value)
            elif not isinstance(value, Mapping) or name not in value:
                known = [str(key) for key in value] if isinstance(value, Mapping) else []
                numbers = [k for k in known if k == str(name)]
                if not numbers:
                    raise Mistake(
                        f"names the key {_dotted((*at, name))}, which does not exist"
                        f"{did_you_mean(str(name), known)}"
                    )
                part = next(key for key in value if str(key) == str(name))
            at = (*at, part)
            value = value[part]
        return self.value(at)

    def call(self, name: str, arguments: list[Any], at: Place) -> Any:
        """The value of a function of OmegaConf."""
        if name in _OF_A_RUNNING_PROGRAM:
            raise _AsWritten
        known: Mapping[str, Callable[..., Any]] = {
            "oc.env": self._variable,
            "oc.deprecated": lambda key, *_: self.look_up(*_from(key, at)),
            "oc.select": lambda key, default=None: self._select(key, default, at),
            "oc.decode": _decode,
            "oc.create": lambda value: value,
            "oc.dict.keys": lambda key: list(self._mapping(key, at)),
            "oc.dict.values": lambda key: list(self._mapping(key, at).values()),
        }
        if name not in known:
            raise Mistake(
                f"calls the function {name}, which only its trainer has (here: "
                f"{', '.join(known)}); write the value itself"
            )
        try:
            return known[name](*arguments)
        except TypeError:
            raise Mistake(f"gives {name} {len(arguments)} values, which it does not take") from None

    def _variable(self, name: Any, *default: Any) -> Any:
        if len(default) > 1:
            raise TypeError
        if self._environment is None:
            raise _AsWritten
        if str(name) in self._environment:
            return self._environment[str(name)]
        if not default:
            raise Mistake(
                f"asks for the environment variable {name}, which is not set; set it, or write "
                "the value itself"
            )
        return None if default[0] is None else str(default[0])

    def _select(self, key: Any, default: Any, at: Place) -> Any:
        try:
            return self.look_up(*_from(key, at))
        except Mistake:
            return default

    def _mapping(self, key: Any, at: Place) -> Mapping[str, Any]:
        if isinstance(key, Mapping):
            return key
        value = self.look_up(*_from(key, at))
        if not isinstance(value, Mapping):
            raise Mistake(f"takes the keys of {key}, which is no mapping")
        return value


def _decode(value: Any) -> Any:
    if value is None:
        return None
    if not isinstance(value, str):
        raise Mistake(f"decodes {yaml_text(value)}, which is no text")
    return Text(value, (), _Reader({}, {})).element()


def _from(key: Any, at: Place) -> tuple[Place, Place]:
    """The names in a dotted key that a function takes, and the mapping that it starts from."""
    text = str(key)
    bare = text.lstrip(".")
    parts = re.split(r"[.\[]", bare.replace("]", ""))
    return tuple(part for part in parts if part), start_of(at, len(text) - len(bare))


def _dotted(at: Place) -> str:
    return ".".join(map(str, at))
