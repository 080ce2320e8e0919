"""Characters that change what a terminal or an editor shows of the text around them."""

import re

# Control characters but tab and line feed, lone surrogates, separators of lines, and the characters
# that embed, override or isolate a direction of writing.
_HARMFUL = re.compile("[\0-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def harmful_character(text: str) -> str | None:
    """The first such character, written as ``U+202E``; None if there is none."""
    found = _HARMFUL.search(text)
    return f"U+{ord(found[0]):04X}" if found else None


def harmless(text: str) -> str:
    """The text with each such character written as an escape, such as ``\\x1b``."""
    return _HARMFUL.sub(lambda found: ascii(found[0])[1:-1], text)
