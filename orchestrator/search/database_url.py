"""Database URLs as they may be shown: without passwords, in errors of the database too."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import unquote, unquote_plus

from decoder.errors import StorageError

MASK = "***"
# A password ends at the last @ of a URL, at the first, or before the host, if signs in it are not
# encoded as they must be.
_USER_PASSWORD = re.compile(r"(://[^:/?#]*:)(.*)(?=@)", re.DOTALL)
_SHORTER_PASSWORDS = (re.compile("(://[^:/?#]*:)([^@]*)@"), re.compile("(://[^:/?#]*:)([^/?#]*)@"))
_PARAMETER = re.compile(r"([?&;]\s*)([^=&;#\s]+)(=)([^&;#]*)")
_SECRET_NAME = re.compile(r"pass|pwd|secret|token|credential|auth|key", re.IGNORECASE)
_SHORTEST = 4  # a shorter password may be part of any word


def masked_url(url: str) -> str:
    """A URL with ``***`` for the password of its user and for secret parameters of its query."""
    shown = _PARAMETER.sub(lambda m: f"{m[1]}{m[2]}{m[3]}{MASK if _is_secret(m[2]) else m[4]}", url)
    return _USER_PASSWORD.sub(rf"\g<1>{MASK}", shown)


def masked(text: str, url: str | None) -> str:
    """A text, such as an error of the database, in which nothing secret of a URL stands.

    A text in which a secret of fewer than four characters may stand is left out as a whole.
    """
    if url is None:
        return text
    for secret in sorted(_secrets(url), key=len, reverse=True):
        if len(secret) < _SHORTEST and secret in text:
            return f"its message is not shown, because it may hold the password of {MASK}"
        text = text.replace(secret, MASK)
    return text


def database_error(
    url: str | None, error: BaseException, what: str, file: Path = Path("study.db")
) -> StorageError:
    """The error for a database that fails, without the secrets of its URL.

    Args:
        url: as the user gave it; None for the study in the search's folder.
        error: of the database or its driver.
        what: what cannot be done, such as "cannot be opened as an Optuna study".
        file: of the study, named if there is no URL.
    """
    first = next(iter(str(error.__cause__ or error).splitlines()), "") or type(error).__name__
    if url is None:
        remedy = "check its access rights and the room on its disk, or rename it to start anew"
        return StorageError(f"{file}: {what} ({first[:500]}); {remedy}")
    return StorageError(
        f"--storage {masked_url(url)}: {what} ({masked(first[:500], url)}); check the URL, its "
        "driver, the access rights and the room on its disk, or leave --storage out"
    )


@contextmanager
def database_errors(url: str | None) -> Iterator[None]:
    """Turn errors of the database within the block into a `StorageError` without secrets."""
    import sqlalchemy
    from optuna.exceptions import StorageInternalError

    try:
        yield
    except (sqlalchemy.exc.SQLAlchemyError, StorageInternalError) as error:
        raise database_error(url, error, "fails; start the search again to continue it") from None


def _is_secret(name: str) -> bool:
    return bool(_SECRET_NAME.search(unquote(name)))


def _secrets(url: str) -> set[str]:
    """Every secret of a URL, as it is written and decoded."""
    patterns = (_USER_PASSWORD, *_SHORTER_PASSWORDS)
    found = [m[2] for pattern in patterns for m in pattern.finditer(url)]
    found += [m[4] for m in _PARAMETER.finditer(url) if _is_secret(m[2])]
    decoded = [decode(secret) for secret in found for decode in (unquote, unquote_plus)]
    return {secret for secret in (*found, *decoded) if secret}
