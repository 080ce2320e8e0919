"""Remarks for the user from code that has nobody to tell: each text once in a process."""

_said: set[str] = set()
_waiting: list[str] = []


def remark(text: str) -> None:
    """Have `text` said to the user with the next event of training, unless it was said before."""
    if text not in _said:
        _said.add(text)
        _waiting.append(text)


def take_remarks() -> tuple[str, ...]:
    """The remarks made since the last call."""
    taken = tuple(_waiting)
    del _waiting[: len(taken)]
    return taken
