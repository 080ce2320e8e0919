"""The pages of a report: Markdown, and one HTML page that loads no other file."""

import base64
import hashlib
import re
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import NamedTuple

from jinja2 import BaseLoader, Environment, FileSystemLoader

from decoder.atomic import write_atomically
from orchestrator.report.prose import TEMPLATES, environment

_MARKS = {"supported": "✔", "refuted": "✘", "inconclusive": "○"}
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")


class Script(NamedTuple):
    """The script of a page, the only one that its content security policy lets run."""

    text: str
    hash: str


class _Raw(str):
    """Markdown that must not be escaped."""


def write_pages(
    folder: Path, template: str, view: object, *, templates: Path = TEMPLATES
) -> list[Path]:
    """Render a view as ``report.md`` and ``report.html``.

    Names, claims and tracebacks are shown as text in both, even if they contain markup.

    Args:
        folder: where the pages go; it contains the figures.
        template: ``NAME`` of ``NAME.md.j2`` and ``NAME.html.j2``.
        view: passed to the templates as ``view``; every value is shown as text.
        templates: the folder of the templates; they may include those of `orchestrator.report`.

    Returns:
        The two files.
    """
    loader = FileSystemLoader([templates, TEMPLATES])
    made = _markdown(loader, folder).get_template(f"{template}.md.j2")
    text = made.render(view=view, marks=_MARKS)
    page = html_page(template, view, templates=templates)
    written = []
    for kind, content in (("md", text), ("html", page)):
        written.append(folder / f"report.{kind}")
        write_atomically(written[-1], content.encode())
    return written


def html_page(template: str, view: object, *, templates: Path = TEMPLATES) -> str:
    """The HTML page of a view, with the arguments of `write_pages`."""
    made = _html(templates).get_template(f"{template}.html.j2")
    return made.render(view=view, marks=_MARKS, script=_script())


@cache
def _script() -> Script:
    text = (TEMPLATES / "page.js").read_text()
    digest = hashlib.sha256(text.encode()).digest()
    return Script(text, f"sha256-{base64.b64encode(digest).decode()}")


def escape_markdown(value: object) -> str:
    """Escape a value so that Markdown shows it as plain text, on one line."""
    text = _CONTROL.sub("", " ".join(str(value).split()))
    text = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return re.sub(r"([\\`*_\[\]|#~!$])", r"\\\1", text)


@cache  # the page while training goes on is made again and again
def _html(templates: Path) -> Environment:
    made = environment(FileSystemLoader([templates, TEMPLATES]), autoescape=True)
    made.filters |= {"data_uri": _data_uri, "no_break": _no_break, "anchor": _anchor}
    return made


def _markdown(loader: BaseLoader, folder: Path) -> Environment:
    # Every value passes through `finalize`, so that none is left unescaped.
    made = environment(
        loader, finalize=lambda value: value if isinstance(value, _Raw) else escape_markdown(value)
    )
    made.filters |= {
        "row": _row,
        "trusted": _Raw,  # for the output of our macros
        "code_block": _code_block,
        "link": lambda path: _Raw(path.relative_to(folder).as_posix()),
    }
    return made


def _row(cells: Sequence[object]) -> _Raw:
    return _Raw("| " + " | ".join(escape_markdown(cell) for cell in cells) + " |")


def _code_block(text: str) -> _Raw:
    """Indented code, because no character can end such a block."""
    lines = [_CONTROL.sub("", line) for line in text.splitlines()]
    return _Raw("\n".join(f"    {line}" for line in lines))


def _no_break(text: str) -> str:
    """Keep a number and its percent sign, and p or α and its value, on one line."""
    return re.sub(r"(?<=\d) (?=%)|(?<=\b[pα]) (?=[=<])|(?<=\b[pα] [=<]) ", "\u00a0", text)


def _anchor(title: str) -> str:
    """The id of a section."""
    return re.sub(r"\W+", "-", title.lower()).strip("-")


def _data_uri(path: Path) -> str:
    """An SVG as a data URI; inside ``<img>`` it can neither run scripts nor load files."""
    return "data:image/svg+xml;base64," + base64.b64encode(path.read_bytes()).decode()
