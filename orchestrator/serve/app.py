"""The pages and their addresses: an ASGI application that reads a results folder."""

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from http import HTTPStatus
from pathlib import Path
from urllib.parse import urlencode

from anyio.to_thread import current_default_thread_limiter
from jinja2 import Environment, FileSystemLoader
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

from decoder.errors import UserError
from decoder.harmless import harmless
from orchestrator.report.prose import environment
from orchestrator.serve.charts import HEIGHT, WIDTH
from orchestrator.serve.file_answers import answer_with_file
from orchestrator.serve.guard import Access, Guard
from orchestrator.serve.inside import NotShownError, list_files
from orchestrator.serve.snapshot import Snapshot, Watched
from orchestrator.serve.sweep_page import sweep_page
from orchestrator.serve.sweeps import KINDS, ago_text, place_of
from orchestrator.serve.views import RUN_COLUMNS, compare_page, run_page, runs_page
from orchestrator.store.paths import Results
from orchestrator.terminal import Say

_TEMPLATES = Path(__file__).parent / "templates"
_THREADS = 2  # that make pages; training needs the others
_MOST_PAGES = 10**6
_STATIC = {"style.css": "text/css", "live.js": "text/javascript"}


def make_app(results: Results, access: Access, say: Say) -> Starlette:
    """The application that shows a results folder.

    Args:
        access: who may see it.
        say: receives a line for what cannot be read.
    """
    pages = _Pages(Watched(results, say))
    addresses: Mapping[str, Callable[[Request], Response]] = {
        "/": pages.sweeps,
        "/runs": pages.runs,
        "/run/{run_id:path}": pages.run,
        "/compare": pages.compare,
        "/files/{path:path}": pages.file,
        **{f"/{name}": _static(name) for name in _STATIC},
        "/{kind}/{name}": pages.sweep,
    }

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        current_default_thread_limiter().total_tokens = _THREADS
        yield

    return Starlette(
        routes=[Route(path, answer) for path, answer in addresses.items()],
        middleware=[Middleware(Guard, access=access)],
        exception_handlers={
            HTTPException: pages.http_error,
            NotShownError: pages.not_shown,
            UserError: pages.unreadable,
            OSError: pages.unreadable,
            Exception: pages.http_error,
        },
        lifespan=lifespan,
    )


def _static(name: str) -> Callable[[Request], Response]:
    content = (_TEMPLATES / name).read_bytes()

    def answer(request: Request) -> Response:
        return Response(content, media_type=_STATIC[name])

    return answer


class _Pages:
    """Makes the answer to each address."""

    def __init__(self, watched: Watched) -> None:
        self._watched, self._results = watched, watched.results
        self._templates = _environment()

    def sweeps(self, request: Request) -> Response:
        state = self._watched.now()
        kinds = {plural: [s for s in state.sweeps if s.kind == plural] for plural in KINDS}
        return self._page("sweeps", "Sweeps", state, kinds=kinds, n_runs=len(state.index))

    def sweep(self, request: Request) -> Response:
        state = self._watched.now()
        kind, name = request.path_params["kind"], request.path_params["name"]
        sweep = state.sweep(kind, name)
        if sweep is None:
            raise HTTPException(404)
        folder = place_of(self._results, sweep.kind).ablations / name
        if sweep.kind == "imported":
            folder = self._results.root / "imported" / name
        files = list_files(self._results.root, folder)
        page = sweep_page(state, sweep, [file for file, _ in files])
        return self._page("sweep", name, state, sweep=sweep, page=page)

    def runs(self, request: Request) -> Response:
        state, asked = self._watched.now(), request.query_params
        filters = {name: asked.get(name, "")[:200] for name in ("sweep", "outcome", "text", "sort")}
        number = asked.get("page", "1")
        page = int(number) if number.isdecimal() and len(number) < len(str(_MOST_PAGES)) else 1
        shown = runs_page(state, **filters, page=page)

        def address(**changed: object) -> str:
            query = {**filters, "page": shown.page, **changed}
            return f"/runs?{urlencode({n: v for n, v in query.items() if v not in ('', 1)})}"

        return self._page(
            "runs", "Runs", state, page=shown, filters=filters, address=address, columns=RUN_COLUMNS
        )

    def run(self, request: Request) -> Response:
        state, run_id = self._watched.now(), request.path_params["run_id"]
        if not state.knows(run_id):
            raise HTTPException(404)
        page = run_page(self._watched, state, run_id)
        return self._page("run", f"Run {run_id}", state, page=page)

    def compare(self, request: Request) -> Response:
        state, chosen = self._watched.now(), request.query_params.getlist("run")[:1000]
        page = compare_page(self._watched, state, chosen)
        return self._page("compare", "Comparison", state, page=page)

    def file(self, request: Request) -> Response:
        return answer_with_file(self._results.root, request.path_params["path"], request)

    def http_error(self, request: Request, error: Exception) -> Response:
        status = error.status_code if isinstance(error, HTTPException) else 500
        return self._error(status, "There is nothing here." if status == 404 else "")

    def not_shown(self, request: Request, error: Exception) -> Response:
        return self._error(404, "There is no such file here that can be shown.")

    def unreadable(self, request: Request, error: Exception) -> Response:
        text = " ".join(str(error).split())
        self._watched.say(text)
        return self._error(503, text)

    def _error(self, status: int, text: str) -> Response:
        title = f"{status} {HTTPStatus(status).phrase}"
        return self._page("error", title, None, status=status, text=text)

    def _page(
        self, name: str, title: str, state: Snapshot | None, *, status: int = 200, **values: object
    ) -> Response:
        problem = state.problem if state is not None else ""
        root = self._results.root.absolute()
        values |= {"title": title, "root": str(root), "problem": problem}
        return HTMLResponse(self._templates.get_template(f"{name}.html.j2").render(values), status)


def _environment() -> Environment:
    made = environment(
        FileSystemLoader(_TEMPLATES),
        autoescape=True,
        # Names and logs may hold characters that change the direction of what stands beside them.
        finalize=lambda value: harmless(value) if type(value) is str else value,
    )
    made.filters |= {"ago": ago_text, "query": urlencode}
    made.globals |= {"chart_width": WIDTH, "chart_height": HEIGHT, "kinds_of": KINDS}
    return made
