"""The pages of a report: Markdown, and one HTML page that loads no other file."""

import base64
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jinja2 import BaseLoader, Environment, FileSystemLoader, StrictUndefined

from decoder.atomic import write_atomically
from orchestrator.report.view import ReportInput, make_view

_TEMPLATES = Path(__file__).parent / "templates"
_MARKS = {"supported": "✔", "refuted": "✘", "inconclusive": "○"}
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")


class _Raw(str):
    """Markdown that must not be escaped."""


def write_report(folder: Path, given: ReportInput) -> list[Path]:
    """Write ``report.md`` and ``report.html`` into the ablation's folder.

    Names, claims and tracebacks are shown as text in both, even if they contain markup.

    Args:
        folder: the ablation's folder.
        given: what the report is made from.

    Returns:
        The two files.
    """
    return write_pages(folder, "report", make_view(given))


def write_pages(
    folder: Path, template: str, view: object, *, templates: Path = _TEMPLATES
) -> list[Path]:
    """Render a view as ``report.md`` and ``report.html``.

    Args:
        folder: where the pages go; it contains the figures.
        template: ``NAME`` of ``NAME.md.j2`` and ``NAME.html.j2``.
        view: passed to the templates as ``view``; every value is shown as text.
        templates: the folder of the templates; they may include those of `orchestrator.report`.

    Returns:
        The two files.
    """
    loader = FileSystemLoader([templates, _TEMPLATES])
    pages = {
        "report.md": _markdown(loader, folder).get_template(f"{template}.md.j2"),
        "report.html": _html(loader).get_template(f"{template}.html.j2"),
    }
    written = []
    for name, page in pages.items():
        write_atomically(folder / name, page.render(view=view, marks=_MARKS).encode())
        written.append(folder / name)
    return written


def escape_markdown(value: object) -> str:
    """Escape a value so that Markdown shows it as plain text, on one line."""
    text = _CONTROL.sub("", " ".join(str(value).split()))
    text = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return re.sub(r"([\\`*_\[\]|#~!$])", r"\\\1", text)


def _html(loader: BaseLoader) -> Environment:
    environment = _environment(loader, autoescape=True)
    environment.filters["data_uri"] = _data_uri
    environment.filters["no_break"] = _no_break
    return environment


def _markdown(loader: BaseLoader, folder: Path) -> Environment:
    environment = _environment(
        loader,
        autoescape=False,
        # Every value passes through here, so that none is left unescaped.
        finalize=lambda value: value if isinstance(value, _Raw) else escape_markdown(value),
    )
    environment.filters["row"] = _row
    environment.filters["trusted"] = _Raw  # for the output of our macros
    environment.filters["code_block"] = _code_block
    environment.filters["link"] = lambda path: _Raw(path.relative_to(folder).as_posix())
    return environment


def _environment(loader: BaseLoader, **escaping: Any) -> Environment:
    return Environment(
        loader=loader,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        **escaping,
    )


def _row(cells: Sequence[object]) -> _Raw:
    return _Raw("| " + " | ".join(escape_markdown(cell) for cell in cells) + " |")


def _code_block(text: str) -> _Raw:
    """Indented code, because no character can end such a block."""
    lines = [_CONTROL.sub("", line) for line in text.splitlines()]
    return _Raw("\n".join(f"    {line}" for line in lines))


def _no_break(text: str) -> str:
    """Keep a number and its percent sign, and p or α and its value, on one line."""
    return re.sub(r"(?<=\d) (?=%)|(?<=\b[pα]) (?=[=<])|(?<=\b[pα] [=<]) ", "\u00a0", text)


def _data_uri(path: Path) -> str:
    """An SVG as a data URI; inside ``<img>`` it can neither run scripts nor load files."""
    return "data:image/svg+xml;base64," + base64.b64encode(path.read_bytes()).decode()
