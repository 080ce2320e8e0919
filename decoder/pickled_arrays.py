"""Reads the arrays of numbers in a pickle, such as ``trainingStats`` of the T12 trainer.

No unpickler runs and no name is resolved: the instructions of the file are followed here, and of
those that call something, only the few are known by which NumPy writes an array of numbers. They
are recognised by their text, and the array is read from its bytes.
"""

import pickletools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from decoder.plain_pickle import MOST_BYTES, Refused

_RECONSTRUCT = {f"numpy.{core}.multiarray _reconstruct" for core in ("core", "_core")}
_SCALAR = {f"numpy.{core}.multiarray scalar" for core in ("core", "_core")}
_FROM_BUFFER = {f"numpy.{core}.numeric _frombuffer" for core in ("core", "_core")}
_KINDS = {"f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8"}
_LONGEST_NUMBER = 8  # bytes
_MARK = object()


@dataclass(frozen=True)
class _Name:
    """A name that the file asks for; its text and nothing else."""

    text: str


@dataclass
class _Type:
    """The type of an array's numbers."""

    kind: str
    order: str = "<"


@dataclass
class _Array:
    """An array, as the bytes of its numbers; they follow in a later instruction."""

    content: Any = None
    kind: Any = None
    n_dimensions: int = 0


def read_pickled_arrays(content: bytes) -> dict[str, list[float]]:
    """The one-dimensional arrays and lists of numbers in a pickled mapping, by name.

    Args:
        content: the whole file.

    Raises:
        Refused: the file is too large or damaged, asks for anything but arrays of numbers, or
            holds no mapping of names.
    """
    if len(content) > MOST_BYTES:
        raise Refused(f"has {len(content):,} bytes, far more than learning curves need")
    try:
        value = _run(content)
    except Refused:
        raise
    except Exception as error:  # damaged instructions can fail anywhere
        raise Refused(f"is damaged ({type(error).__name__})") from None
    if not isinstance(value, dict):
        raise Refused("does not hold a mapping of names to values")
    found: dict[str, list[float]] = {}
    n_left = MOST_BYTES  # numbers; the same array may stand under many names
    for name, inner in value.items():
        numbers = _numbers(inner)
        n_left -= len(numbers or ())
        if n_left < 0:
            raise Refused("asks for more memory than its content needs")
        if isinstance(name, str) and numbers is not None:
            found[name] = numbers
    return found


def _numbers(value: Any) -> list[float] | None:
    """The numbers of a list or of an array of one dimension; None for anything else."""
    if isinstance(value, _Array):
        return _decoded(value.content, value.kind) if value.n_dimensions == 1 else None
    if isinstance(value, list) and all(
        isinstance(one, int | float) and not isinstance(one, bool) for one in value
    ):
        return [float(one) for one in value]
    return None


def _run(content: bytes) -> Any:
    """Follow the instructions of a pickle of plain values and arrays."""
    stack: list[Any] = []
    memo: dict[int, Any] = {}
    argument: Any
    for opcode, argument, _ in pickletools.genops(content):
        name = opcode.name
        if name == "STOP":
            return stack.pop()
        if name in _VALUES:
            stack.append(_VALUES[name]() if name in _EMPTY else argument)
        elif name in _CONSTANTS:
            stack.append(_CONSTANTS[name])
        elif name == "MEMOIZE":
            memo[len(memo)] = stack[-1]
        elif name in ("PUT", "BINPUT", "LONG_BINPUT"):
            memo[int(str(argument))] = stack[-1]
        elif name in ("GET", "BINGET", "LONG_BINGET"):
            stack.append(memo[int(str(argument))])
        elif name == "GLOBAL":
            stack.append(_Name(str(argument)))
        elif name == "STACK_GLOBAL":
            last, first = stack.pop(), stack.pop()
            stack.append(_Name(f"{first} {last}"))
        elif name in _STEPS:
            _STEPS[name](stack)
        elif name not in ("PROTO", "FRAME"):
            raise Refused(f"holds more than arrays of numbers ({name.lower()})")
    raise Refused("is cut off")


def _to_mark(stack: list[Any]) -> list[Any]:
    """Take everything above the last mark, and the mark."""
    items = []
    while (item := stack.pop()) is not _MARK:
        items.append(item)
    return items[::-1]


def _dict(stack: list[Any]) -> None:
    pairs = _to_mark(stack)
    stack.append(dict(zip(pairs[::2], pairs[1::2], strict=True)))


def _setitems(stack: list[Any]) -> None:
    pairs = _to_mark(stack)
    stack[-1].update(zip(pairs[::2], pairs[1::2], strict=True))


def _setitem(stack: list[Any]) -> None:
    value, key = stack.pop(), stack.pop()
    stack[-1].update({key: value})


def _appends(stack: list[Any]) -> None:
    items = _to_mark(stack)
    stack[-1].extend(items)


def _append(stack: list[Any]) -> None:
    item = stack.pop()
    stack[-1].append(item)


def _tuple_of(n: int) -> Callable[[list[Any]], None]:
    def step(stack: list[Any]) -> None:
        items = tuple(stack[-n:])
        del stack[-n:]
        stack.append(items)

    return step


def _reduce(stack: list[Any]) -> None:
    """A call, of which only the known ways to write an array are followed."""
    arguments, called = stack.pop(), stack.pop()
    text = called.text if isinstance(called, _Name) else "an object"
    made: Any
    if text in _RECONSTRUCT:
        made = _Array()
    elif text == "numpy dtype":
        made = _Type(str(arguments[0]))
    elif text in _SCALAR:
        (made,) = _decoded(arguments[1][:_LONGEST_NUMBER], arguments[0])
    elif text in _FROM_BUFFER:
        made = _Array(arguments[0], arguments[1], len(arguments[2]))
    elif text == "_codecs encode" and arguments[1] == "latin1":
        made = arguments[0].encode("latin-1")
    else:
        raise Refused(
            f"asks for {text.replace(' ', '.')}, and loading that could run any code; only arrays "
            "of numbers are read"
        )
    stack.append(made)


def _build(stack: list[Any]) -> None:
    """The content of an array or of a type."""
    state, target = stack.pop(), stack[-1]
    if isinstance(target, _Type):
        target.order = ">" if state[1] == ">" else "<"
    elif isinstance(target, _Array):
        _, shape, target.kind, _, target.content = state
        target.n_dimensions = len(shape)
    else:
        raise Refused("holds more than arrays of numbers (build)")


def _decoded(content: Any, kind: Any) -> list[float]:
    """The numbers in the bytes of an array."""
    if not isinstance(kind, _Type) or kind.kind.lstrip("<>|=") not in _KINDS:
        raise Refused("holds arrays of other things than numbers")
    of_numpy = np.dtype(kind.kind.lstrip("<>|=")).newbyteorder("<" if kind.order == "<" else ">")
    numbers: list[float] = np.frombuffer(bytes(content), of_numpy).astype(np.float64).tolist()
    return numbers


_EMPTY = {"EMPTY_DICT": dict, "EMPTY_LIST": list, "EMPTY_TUPLE": tuple}
_TEXTS = ("STRING", "BINSTRING", "SHORT_BINSTRING", "UNICODE", "BINUNICODE", "SHORT_BINUNICODE")
_BYTES = ("BINUNICODE8", "BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8")
_INTEGERS = ("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "FLOAT", "BINFLOAT")
_VALUES: dict[str, Any] = {**_EMPTY, **dict.fromkeys((*_TEXTS, *_BYTES, *_INTEGERS))}
_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False, "MARK": _MARK}
_STEPS: dict[str, Callable[[list[Any]], None]] = {
    "DICT": _dict,
    "SETITEMS": _setitems,
    "SETITEM": _setitem,
    "APPENDS": _appends,
    "APPEND": _append,
    "LIST": lambda stack: stack.append(_to_mark(stack)),
    "TUPLE": lambda stack: stack.append(tuple(_to_mark(stack))),
    "TUPLE1": _tuple_of(1),
    "TUPLE2": _tuple_of(2),
    "TUPLE3": _tuple_of(3),
    "REDUCE": _reduce,
    "BUILD": _build,
    "POP": lambda stack: stack.__delitem__(-1),
}
