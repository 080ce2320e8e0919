"""What of a database URL may be shown."""

import io
from pathlib import Path

import pytest
import sqlalchemy
from optuna.exceptions import StorageInternalError
from typer.testing import CliRunner

from decoder.errors import ConfigError, StorageError
from orchestrator.cli.app import app
from orchestrator.search.database_url import database_errors, masked, masked_url

from .conftest import FakeBackend, run_small_search, write_file

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


@pytest.mark.filterwarnings("ignore:Query string argument:sqlalchemy.exc.SAWarning")
def test_a_finished_search_leaves_no_password_in_any_file(tmp_path: Path) -> None:
    url, output = f"sqlite:///{tmp_path / 'own.db'}?password=CANARY", io.StringIO()
    run_small_search(tmp_path, FakeBackend(), storage=url, output=output, n_candidates=3)
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(files) > 10
    assert not [path for path in files if b"CANARY" in path.read_bytes()]
    assert "CANARY" not in output.getvalue()
    with pytest.raises(ConfigError) as caught:  # a search that has changed names the database
        run_small_search(tmp_path, FakeBackend(), storage=url, n_candidates=3, seeds=[8, 9])
    assert "***" in caught.value.problems[0]
    assert not any("CANARY" in problem for problem in caught.value.problems)


@pytest.mark.filterwarnings("ignore:Query string argument:sqlalchemy.exc.SAWarning")
@pytest.mark.parametrize("url", [*URLS, "nonsense://u:CANARY@h/d?x=1"])
def test_a_search_whose_database_cannot_be_opened_shows_no_password(
    url: str, tmp_path: Path
) -> None:
    file = write_file(tmp_path, {})
    command = ["search", str(file), "--results", str(tmp_path / "results"), "--report-only"]
    done = CliRunner().invoke(
        app, [*command, "--json", "--storage", url.replace("study.db", "/no/x")]
    )
    assert done.exit_code in (2, 5)
    assert "CANARY" not in done.output and "CAN@ARY" not in done.output
