"""Reads the course of a trainer of the user's while it grows, from files or from what it prints."""

from collections.abc import Iterable, Mapping
from functools import partial
from pathlib import Path

from orchestrator.execute.command.course import Course
from orchestrator.execute.command.lines import LineReader, scaled
from orchestrator.spec.trainer import MetricSource
from orchestrator.store.event_file import MARK, read_scalars

STDOUT = "stdout"
_HEAD = 256  # bytes by which a file that was written anew is recognised
_BLOCK = 1 << 20


class CourseReader:
    """Follows a course and keeps its values in `course`.

    Args:
        where: a file, a folder with event files of TensorBoard, a pattern of files with ``*``, or
            `STDOUT`.
        metrics: metric → its source.
    """

    def __init__(self, where: str, metrics: Mapping[str, MetricSource]) -> None:
        self._where, self._metrics = where, dict(metrics)
        self._start()

    def _start(self) -> None:
        self.course = Course(name for name in self._metrics if name != "step")
        self._lines: dict[Path, LineReader] = {}  # of what is printed, too
        self._places: dict[Path, int] = {}  # how far each file is read
        self._heads: dict[Path, bytes] = {}  # how each begins
        self._tags: dict[str, None] = {}

    @property
    def is_stdout(self) -> bool:
        """Whether the course is what the trainer prints."""
        return self._where == STDOUT

    def take(self, blocks: Iterable[bytes]) -> None:
        """Read what was printed, if the course is that."""
        self._of(Path(STDOUT)).take(blocks)

    def look(self) -> None:
        """Read what the files have grown by. A file that was written anew is read anew.

        Raises:
            OSError, ValueError: a file cannot be read.
        """
        files = self._files()
        if any(self._is_new(path) for path in files if path in self._places):
            self._start()
        for path in files:
            self._read(path)

    def finish(self, *, whole: bool) -> None:
        """Read the course once more, from its start, after the trainer has ended.

        Args:
            whole: whether the trainer wrote its last line to its end, if that has no line end.
        """
        if not self.is_stdout:
            self._start()
            self.look()
        for lines in self._lines.values() if whole else ():
            lines.finish()

    @property
    def names(self) -> list[str]:
        """The names before numbers in the course: columns, keys, tags or texts."""
        return [*self._tags, *(name for lines in self._lines.values() for name in lines.names)]

    def lacks(self) -> str:
        """Which mapped metrics were never reported, in words; empty if all were."""
        lacking = [f"'{self._metrics[name].name}' ({name})" for name in self.course.lacking]
        return f"the course has no {' and no '.join(lacking)}; {self.held()}" if lacking else ""

    def held(self) -> str:
        """What the course holds, for a message."""
        if not self.is_stdout and not self._files():
            return f"{self._where} is not there"
        names = self.names
        what = self._where if not self.is_stdout else "what it printed"
        if not names:
            return f"{what} is empty"
        return f"{what} holds, for example: {'; '.join(names[:8])}"

    def _of(self, path: Path) -> LineReader:
        return self._lines.setdefault(path, LineReader(self.course, self._metrics))

    def _files(self) -> list[Path]:
        if self.is_stdout:
            return []
        path = Path(self._where)
        if "*" in self._where:
            root = Path(path.anchor)
            found = [p for p in root.glob(str(path.relative_to(path.anchor))) if p.is_file()]
            return sorted(found, key=lambda p: (p.stat().st_mtime, p.name))
        if path.is_dir():
            return _event_files(path)
        return [path] if path.is_file() else []

    def _is_new(self, path: Path) -> bool:
        with path.open("rb") as file:
            known = self._heads[path]
            return file.read(len(known)) != known or path.stat().st_size < self._places[path]

    def _read(self, path: Path) -> None:
        with path.open("rb") as file:
            if len(self._heads.get(path, b"")) < _HEAD:
                self._heads[path] = file.read(_HEAD)
            file.seek(self._places.get(path, 0))
            if Path(self._where).is_dir():
                for scalar in read_scalars(file):
                    self._scalar(scalar.step, scalar.tag, scalar.value)
            else:
                self._of(path).take(iter(partial(file.read, _BLOCK), b""))
            self._places[path] = file.tell()

    def _scalar(self, step: int, tag: str, value: float) -> None:
        if len(self._tags) < 50:
            self._tags[tag] = None
        for name, source in self._metrics.items():
            if source.name == tag and name != "step":
                self.course.add({name: scaled(source, value)}, step)


def _event_files(folder: Path) -> list[Path]:
    """The event files below a folder, oldest first: their names begin with a time."""
    found = (path for path in folder.rglob(f"*{MARK}*") if path.is_file())
    return sorted(found, key=lambda path: (path.name.partition(MARK)[2], str(path)))
