"""The grammar of one text with interpolations, as OmegaConf has it: ``x_${a.b}_${f:1,[2]}``."""

import re
from collections.abc import Iterator
from typing import Any, NoReturn, Protocol

from decoder.errors import ConfigError
from decoder.plain_values import check_values
from decoder.yaml_nodes import MOST_DEPTH

Place = tuple[str | int, ...]  # keys and indices from the top of a configuration
OPEN = "${"
MOST_CHARACTERS = 100_000  # of one text
_FUNCTION = re.compile(r"\s*([A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*)\s*:")
_NAME = re.compile(r"[^.:\[\]{}$\s][^.:\[\]{}$]*")
_INT = re.compile(r"[+-]?(?:0|[1-9](?:_?[0-9])*)")
_FLOAT = re.compile(
    r"[+-]?(?:(?:[0-9](?:_?[0-9])*\.(?:[0-9](?:_?[0-9])*)?|\.[0-9](?:_?[0-9])*)(?:[eE][+-]?[0-9]+)?"
    r"|[0-9](?:_?[0-9])*[eE][+-]?[0-9]+|inf|nan)",
    re.IGNORECASE,
)
_ESCAPED = tuple("\\()[]{}:=, \t")  # after a backslash, in a value without quotes
_WORDS = {"true": True, "false": False, "null": None}


class Mistake(Exception):
    """Why a text cannot be followed."""


class Configuration(Protocol):
    """What the interpolations of a text are looked up in."""

    def look_up(self, names: Place, relative_to: Place) -> Any:
        """The value of the key that an interpolation names."""

    def call(self, name: str, arguments: list[Any], at: Place) -> Any:
        """The value of a function."""


class Text:
    """One text, read from left to right."""

    def __init__(self, text: str, at: Place, configuration: Configuration, depth: int = 0) -> None:
        self._text, self._at, self._configuration = text, at, configuration
        self._i, self._depth = 0, depth

    def whole(self) -> Any:
        """The value of the whole text: of the interpolation where it is nothing else."""
        parts: list[Any] = []
        while self._i < len(self._text):
            start = self._text.find(OPEN, self._i)
            if start < 0:
                parts.append(self._text[self._i :])
                break
            plain = self._text[self._i : start]
            bare = plain.rstrip("\\")
            n_escapes = len(plain) - len(bare)
            if literal := bare + "\\" * (n_escapes // 2):
                parts.append(literal)
            self._i = start
            if n_escapes % 2:
                parts.append(OPEN)
                self._i += 2
            else:
                parts.append(_Value(self._interpolation()))
        return _joined(parts)

    def element(self) -> Any:
        """The value of a text that is one argument, as ``oc.decode`` reads it."""
        value = self._argument("")
        if self._i < len(self._text):
            self._fail()
        return value

    def _interpolation(self) -> Any:
        self._depth += 1
        if self._depth > MOST_DEPTH:
            raise Mistake(f"is nested more than {MOST_DEPTH} deep")
        self._i += len(OPEN)
        function = _FUNCTION.match(self._text, self._i)
        if function:
            self._i = function.end()
            arguments = list(self._arguments("}"))
            value = self._configuration.call(function[1], arguments, self._at)
        else:
            names, up = self._key()
            value = self._configuration.look_up(names, start_of(self._at, up))
        self._depth -= 1
        return value

    def _key(self) -> tuple[Place, int]:
        """The names of a key up to the closing brace, and the number of leading dots."""
        self._skip_spaces()
        up, names = 0, list[str | int]()
        while self._peek() == ".":
            up, self._i = up + 1, self._i + 1
        while True:
            bracket = self._peek() == "["
            self._i += bracket
            names.append(self._name())
            if bracket and self._take() != "]":
                self._fail()
            self._skip_spaces()
            match self._peek():
                case "}":
                    self._i += 1
                    return tuple(names), up
                case ".":
                    self._i += 1
                case "[":
                    pass
                case _:
                    self._fail()

    def _name(self) -> str:
        parts = []
        while True:
            if self._text.startswith(OPEN, self._i):
                parts.append(str(self._interpolation()))
            elif found := _NAME.match(self._text, self._i):
                parts.append(found[0])
                self._i = found.end()
            elif parts:
                return "".join(parts).strip()
            else:
                self._fail()

    def _arguments(self, end: str) -> Iterator[Any]:
        """The values up to a closing bracket, which is read too."""
        self._skip_spaces()
        if self._peek() == end:
            self._i += 1
            return
        while True:
            yield self._argument(f",{end}")
            if (got := self._take()) == end:
                return
            if got != ",":
                self._fail()

    def _argument(self, ends: str) -> Any:
        self._skip_spaces()
        first = self._peek()
        if first == "[":
            self._i += 1
            value: Any = list(self._arguments("]"))
        elif first == "{":
            self._i += 1
            value = self._mapping()
        elif first and first in "'\"":
            value = self._quoted(first)
        else:
            return self._word(ends)
        self._skip_spaces()
        return value

    def _mapping(self) -> dict[Any, Any]:
        found: dict[Any, Any] = {}
        self._skip_spaces()
        if self._peek() == "}":
            self._i += 1
            return found
        while True:
            key = self._argument(":")
            if self._take() != ":":
                self._fail()
            found[key] = self._argument(",}")
            match self._take():
                case "}":
                    return found
                case ",":
                    continue
                case _:
                    self._fail()

    def _quoted(self, quote: str) -> str:
        self._i += 1
        parts: list[Any] = []
        while (character := self._peek()) != quote:
            if not character:
                self._fail()
            if character == "\\" and self._text[self._i + 1 : self._i + 2] in (quote, "\\"):
                parts.append(self._text[self._i + 1])
                self._i += 2
            elif self._text.startswith(OPEN, self._i):
                parts.append(_Value(self._interpolation()))
            else:
                parts.append(self._take())
        self._i += 1
        return str(_joined([*parts, ""]))

    def _word(self, ends: str) -> Any:
        """A value without quotes, up to one of these characters."""
        parts: list[Any] = []
        n_kept = 0  # parts before the spaces at the end
        while (character := self._peek()) and character not in ends:
            if character == "\\" and (after := self._text[self._i + 1 : self._i + 2]) in _ESCAPED:
                parts.append(after)
                self._i += 2
                n_kept = len(parts)
            elif self._text.startswith(OPEN, self._i):
                parts.append(_Value(self._interpolation()))
                n_kept = len(parts)
            elif character in "[]{}'\"":
                self._fail()
            else:
                parts.append(self._take())
                n_kept = n_kept if character in " \t" else len(parts)
        parts = parts[:n_kept]
        return _joined(parts) if any(isinstance(p, _Value) for p in parts) else _plain(parts)

    def _peek(self) -> str:
        return self._text[self._i : self._i + 1]

    def _take(self) -> str:
        self._i += 1
        return self._text[self._i - 1 : self._i]

    def _skip_spaces(self) -> None:
        while self._peek() in (" ", "\t"):
            self._i += 1

    def _fail(self) -> NoReturn:
        raise Mistake(
            f"cannot be read at character {self._i + 1}; an interpolation is ${{key.below}} or "
            "${oc.env:NAME,default}"
        )


class _Value:
    """The value of an interpolation among the parts of a text."""

    def __init__(self, value: Any) -> None:
        self.value = value


def _joined(parts: list[Any]) -> Any:
    """The only value, or the text of all parts one after the other."""
    if len(parts) == 1 and isinstance(parts[0], _Value):
        return parts[0].value
    for part in parts:
        if isinstance(part, _Value) and isinstance(part.value, dict | list):
            try:
                check_values(part.value, "")  # mappings that repeat each other grow fast
            except ConfigError:
                raise Mistake("becomes a text of very many values") from None
    text = "".join(str(part.value) if isinstance(part, _Value) else part for part in parts)
    if len(text) > MOST_CHARACTERS:
        raise Mistake(f"becomes a text of {len(text):,} characters")
    return text


def _plain(parts: list[str]) -> Any:
    """The value of a word: a number, true, false, null, or the text itself."""
    text = "".join(parts)
    if text.lower() in _WORDS:
        return _WORDS[text.lower()]
    if _INT.fullmatch(text) and len(text) < 300:
        return int(text)
    return float(text) if _FLOAT.fullmatch(text) else text


def start_of(at: Place, up: int) -> Place:
    """The mapping that a key with this number of leading dots starts from; without, the root."""
    if up > len(at):
        raise Mistake("begins above the file")
    return at[: len(at) - up] if up else ()
