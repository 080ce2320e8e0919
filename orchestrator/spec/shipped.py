"""Where this project lies, and the ablations and bases that ship with it."""

from functools import cache
from pathlib import Path

_CHECKOUT = Path(__file__).parents[2]
_DISTRIBUTION = "speech-bci-sweeps"


def project_above(start: Path) -> Path | None:
    """The nearest folder, `start` or above it, that is a checkout of this project."""
    start = start.absolute()
    return next((folder for folder in (start, *start.parents) if _is_checkout(folder)), None)


@cache
def shipped_ablations() -> Path | None:
    """The folder of the ablations that ship, with ``base/`` in it.

    It is ``ablations/`` of the checkout that this code runs from, or else where pip put the data
    files of the package; None if neither exists.
    """
    if _is_checkout(_CHECKOUT):
        return _CHECKOUT / "ablations"
    from importlib.metadata import PackageNotFoundError, files

    try:
        installed = files(_DISTRIBUTION) or ()
    except PackageNotFoundError:
        return None
    bases = (Path(str(file.locate())) for file in installed if file.match("ablations/base/*.yaml"))
    return next((base.resolve().parents[1] for base in bases if base.is_file()), None)


def _is_checkout(folder: Path) -> bool:
    return (folder / "ablations" / "base").is_dir() and (
        folder / "orchestrator" / "__init__.py"
    ).is_file()
