"""Serves a results folder at an address, until a signal ends it."""

import errno
import os
import secrets
import socket
import threading
from collections.abc import Collection

import uvicorn

from decoder.errors import ConfigError
from orchestrator.serve.app import make_app
from orchestrator.serve.guard import access_of, is_loopback
from orchestrator.store.paths import Results
from orchestrator.terminal import Say

_SHUT_SECONDS = 3
_MOST_AT_A_TIME = 64  # connections; others are told to come again
_LEAST_TOKEN = 16  # characters
_NICENESS = 10  # what trains on the same machine comes first


def serve_results(
    results: Results,
    say: Say,
    *,
    host: str = "127.0.0.1",
    port: int = 8765,
    token: str | None = None,
    names: Collection[str] = (),
) -> None:
    """Show a results folder to browsers until the process is stopped.

    Args:
        say: receives the address to open, and a line for what cannot be read.
        host: the address that is listened on; one that others reach needs a token.
        port: 0 takes a free one.
        token: what a visitor must know; None makes one if others reach the address.
        names: further host names by which browsers reach it.

    Raises:
        ConfigError: there is no such folder, the address cannot be listened on, or the token is
            too short.
        Stopped: at a signal, as with every command.
    """
    if not results.root.is_dir():
        raise ConfigError(
            f"{results.root}: there is no such results folder; give the folder that --results of "
            "`run` names"
        )
    if token is None:
        token = "" if is_loopback(host) else secrets.token_urlsafe(24)
    elif len(token) < _LEAST_TOKEN or not token.isascii() or not token.isprintable():
        raise ConfigError(
            f"--token: needs {_LEAST_TOKEN} printable ASCII characters or more; without it, one is "
            "made where one is needed"
        )
    listening = _listen(host, port)
    port = listening.getsockname()[1]
    say(f"results folder: {results.root.absolute()}")
    say(f"open {_address(host, port, token)}   (Ctrl-C ends it)")
    app = make_app(results, access_of(host, port, token, names), say)
    server = uvicorn.Server(
        uvicorn.Config(
            app,
            http="h11",
            ws="none",
            loop="asyncio",
            log_config=None,
            access_log=False,
            proxy_headers=False,
            server_header=False,
            limit_concurrency=_MOST_AT_A_TIME,
            timeout_graceful_shutdown=_SHUT_SECONDS,
        )
    )
    os.nice(_NICENESS)
    # In a thread of its own, so that signals reach this command as they reach the others.
    thread = threading.Thread(
        target=server.run, kwargs={"sockets": [listening]}, name="serve", daemon=True
    )
    thread.start()
    try:
        while thread.is_alive():
            thread.join(0.5)
    finally:
        server.should_exit = True
        thread.join(_SHUT_SECONDS + 2)
        listening.close()


def _listen(host: str, port: int) -> socket.socket:
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listening = socket.socket(family, kind, protocol)
    except (OSError, UnicodeError) as error:
        raise ConfigError(f"--host {host}: is no address of this machine ({error})") from None
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(address)
        listening.listen(128)
    except OSError as error:
        listening.close()
        if error.errno == errno.EADDRINUSE:
            reason = "is used by another process; choose another, or 0 for a free one"
        else:
            reason = f"cannot be listened on at {host} ({error.strerror})"
        raise ConfigError(f"--port {port}: {reason}") from None
    return listening


def _address(host: str, port: int, token: str) -> str:
    """What to open in a browser."""
    name = host
    if host in ("0.0.0.0", "::", ""):
        name = socket.gethostname()
    elif ":" in host:
        name = f"[{host}]"
    return f"http://{name}:{port}/" + (f"?token={token}" if token else "")
