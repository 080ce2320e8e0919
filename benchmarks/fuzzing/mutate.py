"""Ways to damage text, files and trees of values; each takes the generator it draws from."""

import os
import random
import string
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

# Words that mean something to a YAML reader, to a terminal, or to the file system.
WORDS = (
    *("&a", "*a", "<<: *a", "!!int ", "!!float x", "!!binary x", "!!set {a}", "!!timestamp x"),
    *("!!python/object/apply:os.getcwd []", "!!python/tuple [1]", "!", "!x", "? ", ": ", "- ", "|"),
    *(">", "[", "]", "{", "}", '"', "'", "#", "%", "%YAML 9.9\n", "---\n", "...\n", "\t", "\n"),
    *("\x00", "\x07", "\x1b[31m", "\x85", "\u2028", "\u202e", "\ufeff", "\ufffe", '"\\ud800"'),
    *(
        '"\\x1b]0;x\\a"',
        "1e400",
        "-1e400",
        "1" * 401,
        "9" * 5000,
        "0x" + "f" * 5000,
        ".nan",
        ".inf",
    ),
    *("2023-08-11", "1:30", "0o7", "1_000", "${optim.lr_max}", "${", "${a}${b}", "null", "~", "="),
    *("../" * 30, "/dev/zero", "/proc/self/mem", "x" * 5000, "\N{PILE OF POO}", "é\u0301" * 40),
)
ODD_VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 1, 2**31, 2**32, 2**63, 2**64, 10**30, 10**400, -(10**12)),
    *(0.0, -0.0, 1e-320, 1e306, -1e306, float("inf"), float("-inf"), float("nan"), 0.1 + 0.2),
    *("", " ", "none", "yes", "1e-3", "0x10", "per", "\x00", "\x1b[2J", "\u202egnp", "\ud800"),
    *("a" * 300, "x.y.z", "${model.n_units}", "${model.n_unit}", "${}", "../x", "/dev/zero"),
    *([], {}, [[]], [{}], {"": None}, [None], [1, "a"], {"a": {"b": {"c": 1}}}, "synthetic:tiny"),
    *(list(range(300)), ["x"] * 3000, {f"k{i}": i for i in range(2000)}, [[[[[[[[[[]]]]]]]]]]),
    *({1: 2}, {None: 1}, {True: 1}, {1.5: {}}, {"optim.lr_max": 1e-3}, {"model.n_layers": 10**8}),
)


def damaged_text(draw: random.Random, text: str) -> bytes:
    """The text after a few changes of lines, words or bytes."""
    for _ in range(draw.choice((1, 1, 1, 2, 3, 8))):
        text = draw.choice(_LINES)(draw, text)
    content = text.encode("utf-8", "surrogatepass")
    if draw.random() < 0.2:
        content = _damaged_bytes(draw, content)
    encoding = draw.random()
    if encoding < 0.01:
        return text.encode("utf-16", "surrogatepass")
    return b"\xef\xbb\xbf" + content if encoding < 0.02 else content


def damaged_tree(draw: random.Random, tree: Any) -> Any:
    """A copy of nested values with some of them changed, moved, renamed or left out."""
    for _ in range(draw.choice((1, 1, 2, 4))):
        tree = _changed(draw, tree, draw.choice(_VALUES))
    return tree


def odd_file(draw: random.Random, path: Path) -> Path:
    """Something that is no file of text in the place of one."""
    kind = draw.randrange(9)
    if kind == 0:
        path.mkdir()
    elif kind == 1:
        os.mkfifo(path)
    elif kind == 2:
        path.symlink_to(draw.choice(("/dev/zero", "/dev/stdin", "/dev/full", "/proc/self/mem")))
    elif kind == 3:
        path.symlink_to(path)
    elif kind == 4:
        path.write_bytes(draw.randbytes(draw.choice((1, 100, 10_000))))
    elif kind == 5:
        path.write_text(draw.choice(("a: 1\n", "- x\n", "# \n", "{", "x")) * 3_000_000)
    elif kind == 6:
        path.write_text(bomb(draw))
    elif kind == 7:
        depth = draw.choice((50, 500, 5_000, 50_000))
        path.write_text(
            draw.choice(("{n}{o}{c}", "a: {o}{c}")).format(
                n="",
                o=draw.choice(("[", "{a: ", "- ", "? ", "? - ", "[[", "&a [")) * depth,
                c=draw.choice(("", "1", "]" * depth)),
            )
        )
    else:
        return path  # nothing is there
    return path


def bomb(draw: random.Random) -> str:
    """Aliases of aliases, or merged keys of merged keys."""
    width, depth = draw.choice((2, 9, 30)), draw.choice((5, 9, 30))
    if draw.random() < 0.5:
        rows = ["a0: &a0 [x, x]"]
        rows += [f"a{k}: &a{k} [{', '.join([f'*a{k - 1}'] * width)}]" for k in range(1, depth)]
    else:
        rows = ["a0: &a0 {x: 1, y: 2}"]
        rows += [
            f"a{k}: &a{k}\n  <<: [{', '.join([f'*a{k - 1}'] * width)}]\n  k{k}: 1"
            for k in range(1, depth)
        ]
    key = draw.choice(("name", "question", "factors", "seeds", "set", "space", "model"))
    return "\n".join([*rows, f"{key}: *a{depth - 1}", ""])


def _damaged_bytes(draw: random.Random, content: bytes) -> bytes:
    buffer = bytearray(content)
    for _ in range(draw.choice((1, 2, 10))):
        at = draw.randrange(len(buffer) + 1)
        if draw.random() < 0.5 and at < len(buffer):
            buffer[at] = draw.randrange(256)
        else:
            buffer[at:at] = draw.randbytes(draw.choice((1, 2, 4)))
    return bytes(buffer)


def _line_moved(draw: random.Random, text: str) -> str:
    lines = text.split("\n")
    line = lines.pop(draw.randrange(len(lines)))
    if draw.random() < 0.7:
        lines.insert(draw.randrange(len(lines) + 1), line)
    return "\n".join(lines)


def _line_repeated(draw: random.Random, text: str) -> str:
    lines = text.split("\n")
    at = draw.randrange(len(lines))
    lines[at:at] = [lines[at]] * draw.choice((1, 1, 2, 100, 3000))
    return "\n".join(lines)


def _indented(draw: random.Random, text: str) -> str:
    lines = text.split("\n")
    at = draw.randrange(len(lines))
    lines[at] = draw.choice(("", " ", "  ", "\t", "      ")) + lines[at].lstrip(" ")
    return "\n".join(lines)


def _word_inserted(draw: random.Random, text: str) -> str:
    at = draw.randrange(len(text) + 1)
    return text[:at] + draw.choice(WORDS) * draw.choice((1, 1, 1, 3)) + text[at:]


def _value_replaced(draw: random.Random, text: str) -> str:
    lines = text.split("\n")
    at = draw.choice([k for k, line in enumerate(lines) if ":" in line] or [0])
    lines[at] = f"{lines[at].partition(':')[0]}: {draw.choice(WORDS)}"
    return "\n".join(lines)


def _cut(draw: random.Random, text: str) -> str:
    start = draw.randrange(len(text) + 1)
    end = min(len(text), start + draw.choice((1, 1, 5, 50, 5000)))
    return text[:start] + text[end:]


def _character_changed(draw: random.Random, text: str) -> str:
    if not text:
        return text
    at = draw.randrange(len(text))
    return text[:at] + draw.choice(string.printable) + text[at + 1 :]


def _bomb_added(draw: random.Random, text: str) -> str:
    return text + "\n" + bomb(draw)


_LINES: Sequence[Callable[[random.Random, str], str]] = (
    *(_line_moved, _line_repeated, _indented, _word_inserted, _value_replaced, _cut),
    *(_character_changed, _character_changed, _bomb_added),
)


def _places(tree: Any, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    entries: Any = ()
    if isinstance(tree, dict):
        entries = tree.items()
    elif isinstance(tree, list):
        entries = enumerate(tree[:50])
    return [at, *(place for key, one in entries for place in _places(one, (*at, key)))]


def _value_at(tree: Any, place: Sequence[Any]) -> Any:
    for key in place:
        tree = tree[key]
    return tree


def _changed(
    draw: random.Random, tree: Any, change: Callable[[random.Random, Any, Any], Any]
) -> Any:
    places = [place for place in _places(tree) if place]
    if not places:
        return draw.choice(ODD_VALUES)
    place = draw.choice(places)

    def rebuilt(value: Any, left: Sequence[Any]) -> Any:
        copy = dict(value) if isinstance(value, dict) else list(value)
        if len(left) > 1:
            copy[left[0]] = rebuilt(copy[left[0]], left[1:])
        else:
            change(draw, copy, left[0])
        return copy

    donor = _value_at(tree, draw.choice(places))
    result = rebuilt(tree, place)
    if change is _odd and draw.random() < 0.3:  # a value from elsewhere in the file
        _value_at(result, place[:-1])[place[-1]] = donor
    return result


def _odd(draw: random.Random, copy: Any, key: Any) -> None:
    copy[key] = draw.choice(ODD_VALUES)


def _near(draw: random.Random, copy: Any, key: Any) -> None:
    value = copy[key]
    if isinstance(value, bool) or not isinstance(value, int | float):
        copy[key] = str(value)[:-1] if draw.random() < 0.5 else [value]
    else:
        copy[key] = value * draw.choice((-1, 0, 2, 0.5, 10**6, 10**12, 1e-9))


def _left_out(draw: random.Random, copy: Any, key: Any) -> None:
    del copy[key]


def _renamed(draw: random.Random, copy: Any, key: Any) -> None:
    if isinstance(copy, dict):
        value = copy.pop(key)
        names = ("", "x", None, 1, 1.5, True, f"{key}x", str(key)[:-1], "a" * 65, "ab/c", ".x")
        copy[draw.choice(names)] = value


def _swollen(draw: random.Random, copy: Any, key: Any) -> None:
    value, n = copy[key], draw.choice((10, 1000, 30_000))
    if isinstance(value, list) and value:
        copy[key] = (value * n)[:n] if draw.random() < 0.3 else list(range(n))
    elif isinstance(value, dict) and value:
        one = draw.choice(list(value.values()))
        copy[key] = {**value, **{f"n{k}": one for k in range(n)}}
    elif isinstance(value, str):
        copy[key] = value * n


_VALUES: Sequence[Callable[[random.Random, Any, Any], Any]] = (
    *(_odd, _odd, _odd, _near, _near, _left_out, _renamed, _swollen),
)
