"""The sentences of a report, which its template ``prose.j2`` writes from the facts."""

from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import BaseLoader, Environment, FileSystemLoader, StrictUndefined

from orchestrator.spec.units import difference_text, noun, unit_of, value_text

TEMPLATES = Path(__file__).parent / "templates"


def prose(about: str, **facts: object) -> tuple[str, ...]:
    """The paragraphs of a macro of ``prose.j2``; a line of the macro is one paragraph.

    Args:
        about: the macro's name.
        facts: its arguments.
    """
    text: str = getattr(_prose().get_template("prose.j2").module, about)(**facts)
    return tuple(line for line in text.split("\n") if line)


def environment(loader: BaseLoader, **escaping: Any) -> Environment:
    """Jinja's environment for templates in which an unknown name is an error."""
    return Environment(
        loader=loader,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        **escaping,
    )


@cache
def _prose() -> Environment:
    made = environment(
        FileSystemLoader(TEMPLATES), finalize=lambda value: str(value).replace("\n", " ")
    )
    made.filters |= {
        "noun": noun,
        "unit": unit_of,
        "value": value_text,
        "size": lambda value, outcome: difference_text(value, outcome, signed=False),
        "counted": lambda n, what: f"{n} {what}{'s' * (n != 1)}",
    }
    return made
