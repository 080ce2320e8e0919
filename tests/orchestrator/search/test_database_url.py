"""What of a database URL may be shown."""

import pytest
import sqlalchemy
from optuna.exceptions import StorageInternalError

from decoder.errors import StorageError
from orchestrator.search.database_url import database_errors, masked, masked_url

URLS = [
    "postgresql://me:CANARY@host/db",
    "postgresql://me:CAN%40ARY@host:5432/db?sslmode=require",
    "postgresql://me:CAN@ARY@host/db",
    "postgresql://me:CANARY@[::1/db",
    "postgresql+psycopg2://me@host/db?password=CANARY&connect_timeout=3",
    "postgresql://me:CANARY@host/db?sslpassword=CAN@ARY",
    "mysql://host/db?passwd=CANARY",
    "sqlite:///study.db?api_key=CANARY&mode=ro",
    "postgres://:CANARY@/db",
]


@pytest.mark.parametrize("url", URLS)
def test_nothing_secret_of_a_url_is_shown(url: str) -> None:
    shown = masked_url(url)
    assert "CAN" not in shown and "ARY" not in shown and "***" in shown
    assert shown.partition("://")[0] == url.partition("://")[0]


@pytest.mark.parametrize("url", ["sqlite:///study.db", "sqlite:////a/b.db?mode=ro", "mysql://h/d"])
def test_url_without_a_secret_is_shown_as_it_is(url: str) -> None:
    assert masked_url(url) == url


@pytest.mark.parametrize("url", URLS)
@pytest.mark.parametrize("error_class", [sqlalchemy.exc.OperationalError, StorageInternalError])
def test_error_of_the_database_shows_no_secret(url: str, error_class: type) -> None:
    text = f"cannot connect to {url} with password 'CANARY' or 'CAN@ARY' or CAN%40ARY"
    error = (
        StorageInternalError(text)
        if error_class is StorageInternalError
        else sqlalchemy.exc.OperationalError("SELECT 1", {}, Exception(text))
    )
    own = [part for part in ("CANARY", "CAN@ARY", "CAN%40ARY") if part in url]
    own += ["CAN@ARY"] if "CAN%40ARY" in url else []
    with pytest.raises(StorageError) as caught, database_errors(url):
        raise error
    (shown,) = caught.value.problems
    assert caught.value.__cause__ is None and caught.value.__suppress_context__
    assert own and not any(secret in shown for secret in own)
    assert caught.value.exit_code == 5


def test_message_with_a_password_too_short_to_mask_is_left_out() -> None:
    assert "pw" not in masked("no pw for me", "mysql://u:pw@h/d")
    assert masked("no such table", "mysql://u:pw@h/d") == "no such table"
    assert masked("no such table", None) == "no such table"
