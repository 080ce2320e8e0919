"""Reads the only pickle that we open: ``args`` of the T12 trainer, a mapping of plain values.

All instructions of the file are checked before any is executed. The file is refused if one names a
class, calls anything, or asks for more memory than the file is long. The unpickler that then runs
resolves no name in any case.
"""

import io
import pickle
import pickletools
from typing import Any, NoReturn

MOST_BYTES = 1 << 20

_PLAIN = frozenset(
    [
        "PROTO",
        "FRAME",
        "STOP",
        "MARK",
        "POP",
        "POP_MARK",
        "DUP",
        "NONE",
        "NEWTRUE",
        "NEWFALSE",
        "INT",
        "BININT",
        "BININT1",
        "BININT2",
        "LONG",
        "LONG1",
        "FLOAT",
        "BINFLOAT",
        "STRING",
        "BINSTRING",
        "SHORT_BINSTRING",
        "UNICODE",
        "BINUNICODE",
        "SHORT_BINUNICODE",
        "BINUNICODE8",
        "EMPTY_DICT",
        "DICT",
        "SETITEM",
        "SETITEMS",
        "EMPTY_LIST",
        "LIST",
        "APPEND",
        "APPENDS",
        "EMPTY_TUPLE",
        "TUPLE",
        "TUPLE1",
        "TUPLE2",
        "TUPLE3",
        "PUT",
        "BINPUT",
        "LONG_BINPUT",
        "MEMOIZE",
        "GET",
        "BINGET",
        "LONG_BINGET",
    ]
)
_NAMING = ("GLOBAL", "STACK_GLOBAL", "INST", "OBJ")
_FIRST_BYTES = (b"\x80", b"(dp", b"(d\n", b"(ip", b"(lp", b"}q", b"]q", b"ccopy_reg", b"c__")


class Refused(Exception):
    """A pickle that is not opened; the text gives the reason."""


class _Plain(pickle.Unpickler):
    """An unpickler that builds plain values and resolves no names."""

    def find_class(self, module: str, name: str) -> NoReturn:
        raise Refused(f"asks for {module}.{name}")

    def persistent_load(self, pid: Any) -> NoReturn:
        raise Refused("asks for an object outside of the file")


def looks_like_pickle(head: bytes) -> bool:
    """Whether a file that begins with `head` is a pickle, of any protocol."""
    return head.startswith(_FIRST_BYTES)


def read_plain_pickle(content: bytes) -> dict[str, Any]:
    """The mapping in a pickle that only holds plain values.

    Args:
        content: the whole file.

    Raises:
        Refused: the file is too large or damaged, names a class, or is not a mapping with text
            keys.
    """
    if len(content) > MOST_BYTES:
        raise Refused(f"has {len(content):,} bytes, far more than plain settings need")
    _check_instructions(content)
    try:
        value = _Plain(io.BytesIO(content)).load()
    except Refused:
        raise
    except Exception as error:  # a damaged pickle can raise anything
        raise Refused(f"cannot be read ({type(error).__name__})") from None
    if not isinstance(value, dict) or not all(isinstance(key, str) for key in value):
        raise Refused("does not hold a mapping of names to values")
    return value


def _check_instructions(content: bytes) -> None:
    """Refuse everything except plain values, before anything is built."""
    texts: list[str] = []
    try:
        for n_done, (opcode, argument, _) in enumerate(pickletools.genops(content)):
            if opcode.name in _NAMING:
                named = argument if isinstance(argument, str) else " ".join(texts[-2:])
                raise Refused(
                    f"asks for {named.replace(' ', '.') or 'a class'}, and loading that could run "
                    "any code; write the settings as YAML or JSON"
                )
            if opcode.name not in _PLAIN:
                raise Refused(f"holds more than plain values ({opcode.name.lower()})")
            if opcode.name.endswith("PUT") and int(argument or 0) > n_done:
                raise Refused("asks for more memory than its content needs")
            if isinstance(argument, str):
                texts.append(argument)
    except Refused:
        raise
    except Exception as error:  # pickletools raises many kinds on damaged files
        raise Refused(f"is damaged ({type(error).__name__})") from None
