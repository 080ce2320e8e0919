"""Answers with a file of the results folder: in blocks, or the part asked for, and inert."""

import os
import re
from base64 import b64encode
from collections.abc import Iterator
from email.utils import formatdate
from functools import cache
from hashlib import sha256
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from orchestrator.report.prose import TEMPLATES
from orchestrator.serve.inside import MEDIA_TYPES, open_inside

_BLOCK = 1 << 16
_RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})")
# A file may have been written by anyone. In a sandbox it is of no origin, so that it can read
# nothing else of this server, and it loads and sends nothing.
_INERT_POLICY = (
    "default-src 'none'; img-src data:; style-src 'unsafe-inline'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'"
)
_DOWNLOADED = (".parquet",)


def answer_with_file(root: Path, relative: str, request: Request) -> Response:
    """The file as a browser may show it.

    Raises:
        NotShownError: there is no such file, or it is not for showing.
    """
    file = os.fdopen(open_inside(root, relative), "rb")  # closed at the latest when it is dropped
    state = os.fstat(file.fileno())
    name = PurePosixPath(relative)
    headers = {
        "accept-ranges": "bytes",
        "content-security-policy": _policy(name.suffix),
        "last-modified": formatdate(state.st_mtime, usegmt=True),
        "cross-origin-opener-policy": "unsafe-none",  # a sandbox has no origin to protect
    }
    if name.suffix in _DOWNLOADED:
        headers["content-disposition"] = "attachment"
    start, stop, status = 0, state.st_size, 200
    asked = _RANGE.fullmatch(request.headers.get("range", "").replace(" ", ""))
    if asked and any(asked.groups()) and "if-range" not in request.headers:
        start, stop = _part(asked[1], asked[2], state.st_size)
        if start >= stop:
            file.close()
            return Response(status_code=416, headers={"content-range": f"bytes */{state.st_size}"})
        status = 206
        headers["content-range"] = f"bytes {start}-{stop - 1}/{state.st_size}"
    headers["content-length"] = str(stop - start)
    media_type = MEDIA_TYPES[name.suffix]
    if request.method == "HEAD":
        file.close()
        return Response(status_code=status, headers=headers, media_type=media_type)
    return StreamingResponse(_blocks(file, start, stop), status, headers, media_type)


def _policy(suffix: str) -> str:
    """What a browser lets a file do.

    A page may run the scripts of our reports, which sort and copy tables, and no others.
    """
    if suffix != ".html":
        return f"sandbox; {_INERT_POLICY}"
    scripts = " ".join(f"'{digest}'" for digest in _report_scripts())
    if not scripts:
        return f"sandbox allow-downloads; {_INERT_POLICY}"
    return f"sandbox allow-downloads allow-scripts; script-src {scripts}; {_INERT_POLICY}"


@cache
def _report_scripts() -> tuple[str, ...]:
    """The digests of the scripts that reports of this version hold, as a policy names them."""
    digests = (sha256(path.read_bytes()).digest() for path in sorted(TEMPLATES.glob("*.js")))
    return tuple(f"sha256-{b64encode(digest).decode()}" for digest in digests)


def _part(first: str, last: str, size: int) -> tuple[int, int]:
    """The start and the end of what is asked for; not below each other if there is no such part."""
    if not first:  # the last bytes
        return max(0, size - int(last)), size
    return int(first), min(size, int(last) + 1) if last else size


def _blocks(file: BinaryIO, start: int, stop: int) -> Iterator[bytes]:
    """The bytes of a file; as many as announced, even if it is cut or grows meanwhile."""
    with file:
        file.seek(start)
        left = stop - start
        while left > 0:
            block = file.read(min(_BLOCK, left)) or bytes(min(_BLOCK, left))
            left -= len(block)
            yield block
