"""The searches of a results folder by name: what each was asked, and how far it has come."""

import contextlib
import sqlite3
from pathlib import Path
from typing import NamedTuple

from pydantic import ValidationError

from decoder.atomic import write_atomically
from decoder.errors import ConfigError, StorageError
from decoder.marks import Section
from decoder.regular import check_regular, read_regular
from decoder.strict_yaml import load_yaml
from orchestrator.search.load import LoadedSearch, check_search, load_search
from orchestrator.search.schema import SearchSpec
from orchestrator.spec.configuration import Configuration
from orchestrator.store.paths import Results
from orchestrator.store.record import first_mistake

_LOCK_SECONDS = 1.0  # that a driver may hold the lock on its study


class _Kept(Section):
    spec: SearchSpec
    base: Configuration


class SearchProgress(NamedTuple):
    """How far a search has come; None where it is not known.

    Attributes:
        n_candidates: candidates asked for, over all arms.
        n_done: candidates that were trained to their end or stopped early.
        n_failed_candidates: those without a score that are not tried again yet.
    """

    n_candidates: int | None
    n_done: int | None
    n_failed_candidates: int | None


def keep_search(loaded: LoadedSearch, results: Results) -> None:
    """Write ``search.json``, from which the report can be rebuilt without the search's file."""
    kept = _Kept(spec=loaded.spec, base=loaded.base)
    path = results.kept_search(loaded.spec.name)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, kept.model_dump_json(indent=1, by_alias=True).encode() + b"\n")


def named_search(text: str, results: Results) -> LoadedSearch | None:
    """The search that a name or a YAML file stands for; None if it stands for no search.

    Args:
        text: name of a search that was run, or path of a file.
        results: the folders of searches.

    Raises:
        ConfigError: the file has mistakes; or an earlier version ran the search and kept no file.
        StorageError: the kept file cannot be read.
    """
    if "/" in text or text.endswith((".yaml", ".yml")):
        is_search = {"space", "n_candidates"} & load_yaml(Path(text)).keys()
        return load_search(Path(text)) if is_search else None
    if text not in results.searches():
        return None
    kept, path = _read(results, text), results.kept_search(text)
    if kept is None:
        raise ConfigError(
            f"{path}: is missing, because an earlier version ran the search '{text}'; give its "
            "YAML file in place of its name, once"
        )
    return check_search(kept.spec, kept.base, path)


def asked_search(results: Results, name: str) -> SearchSpec | None:
    """What a search was asked when it last ran; None if an earlier version ran it.

    Raises:
        StorageError: the kept file cannot be read.
    """
    kept = _read(results, name)
    return kept.spec if kept else None


def count_states(path: Path) -> dict[str, int]:
    """Optuna's state (such as ``COMPLETE``) → candidates in it; the study is only read.

    Raises:
        StorageError: the file cannot be read as a study.
    """
    try:
        check_regular(path)
        # Quoted as the path of a URI, and opened for reading only.
        with contextlib.closing(
            sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True, timeout=_LOCK_SECONDS)
        ) as database:
            rows = database.execute("SELECT state, COUNT(*) FROM trials GROUP BY state").fetchall()
        return {str(state): int(n) for state, n in rows}
    except (OSError, sqlite3.Error, ValueError, TypeError) as error:
        raise StorageError(f"{path}: cannot be read as an Optuna study ({error})") from None


def search_progress(results: Results, name: str) -> SearchProgress:
    """Count the candidates of a search while it runs, or afterwards.

    What cannot be known is None: candidates asked for, where an earlier version ran the search;
    the others, where its study lies in a database of its own (``--storage``).

    Raises:
        StorageError: a file cannot be read.
    """
    kept = _read(results, name)
    n_candidates = kept.spec.n_candidates * max(1, len(kept.spec.arms)) if kept else None
    if not results.study(name).exists():
        return SearchProgress(n_candidates, None, None)
    from orchestrator.search.study import count_candidates  # Optuna takes 0.5 s

    return SearchProgress(n_candidates, *count_candidates(results.study(name)))


def _read(results: Results, name: str) -> _Kept | None:
    path = results.kept_search(name)
    try:
        return _Kept.model_validate_json(read_regular(path))
    except FileNotFoundError:
        return None
    except OSError as error:
        raise StorageError(f"{path}: cannot be read ({error})") from None
    except ValidationError as error:
        raise StorageError(
            f"{path}: is not a valid search ({first_mistake(error)}); `search` writes it again"
        ) from None
