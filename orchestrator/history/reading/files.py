"""Files of a run folder: the kind of each by its name, and its text read up to a size limit."""

import codecs
import hashlib
import json
import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from decoder.plain_pickle import Refused, looks_like_pickle
from decoder.plain_values import json_mistake
from decoder.user_files import utf_16

Role = Literal["settings", "course", "evaluation", "refused", "not read", "unreadable"]
RunFileKind = Literal[
    "yaml", "json", "toml", "pickle", "jsonl", "csv", "log", "stats", "refused", "other"
]

MOST_SETTINGS_BYTES = 4 << 20
MOST_CURVE_BYTES = 32 << 20  # 5 s of reading, or 15 s of the log of an unknown trainer
_MOST_LINE = 1 << 20
_BLOCK = 1 << 20

_NEITHER = "by its name it holds neither settings nor a learning curve"
_PICKLES = "pickles are refused, because opening one can run any code"
# Pattern of the whole name in lower case, kind, and why it is not read. The first match counts.
_KINDS: tuple[tuple[str, RunFileKind, str], ...] = (
    (r".*\.tfevents\..*", "other", "TensorBoard events are not read; export them as CSV"),
    (
        r".+\.(pt|pth|ckpt|bin|onnx)|(best|final)?_?checkpoint(_batch_\d+)?|modelweights.*",
        *("refused", "weights are never opened"),
    ),
    (r".+\.(safetensors|h5|hdf5|mat|npy|npz)", "other", "arrays are not read"),
    (r".+\.(png|jpe?g|svg|pdf|gif)", "other", "pictures are not read"),
    (r".+\.(py|ipynb|sh|slurm|sbatch|patch|diff)", "other", "code is not read"),
    (r".+\.(md|rst|html|docx)", "other", "documents are not read"),
    (r".+\.(wandb|db|sqlite|parquet)", "other", "databases are not read"),
    (r".+\.(zip|gz|tar|tgz|xz|zst|7z)", "other", "archives are not read"),
    (r"args(\.pkl|\.pickle)?", "pickle", ""),
    (r"trainingstats(\.pkl|\.pickle)?", "stats", ""),
    (r".+\.(pkl|pickle)", "refused", _PICKLES),
    (
        r"(?=.*train_val_trials|.*wandb-(metadata|summary)|tsconfig|vocab|phon|dataset_info|\."
        r"|(hydra|overrides|conda|environment|requirements|package(-lock)?)\.).+\.(ya?ml|json)",
        *("other", _NEITHER),
    ),
    (r".+\.ya?ml", "yaml", ""),
    (r".+\.json", "json", ""),
    (r".+\.toml", "toml", ""),
    (r".+\.(jsonl|ndjson)", "jsonl", ""),
    (r".+\.(csv|tsv)", "csv", ""),
    (r".+\.(log|out|err)", "log", ""),
)
_LOG_NAME = re.compile("log|stdout|stderr|output|console|train|slurm|nohup|ausgabe|protokoll")
_USUAL_NAMES = {
    "settings": r"config|args|hparam|hyper|param|setting|^cfg|_cfg|^conf\b|options|^opts"
    r"|einstell|konfig",
    "curve": r"histor|metrics|stats|trainer_state|curve|log|losses",
    "evaluation": r"^(eval|evaluation|test|val|final|best)[\w.-]*$|results?$|scores?$",
}


@dataclass(frozen=True)
class FileNote:
    """One file of a run, and how it was used.

    Attributes:
        path: relative to the imported folder.
        role: what the file was read as; ``course`` is a learning curve.
        digest: SHA-256 of the part that was read; "" if the file was not read.
        note: why the file was not read; "" if it was.
    """

    path: str
    role: Role
    n_bytes: int
    digest: str = ""
    note: str = ""


@dataclass(frozen=True)
class RunFile:
    """One file of a run.

    Attributes:
        name: its path below the imported folder.
        kind: by its name.
        why: why it is not read; "" for a kind that is read.
        changed: time of its last change, in seconds.
    """

    path: Path
    name: str
    kind: RunFileKind
    why: str
    n_bytes: int
    changed: float

    def is_named(self, *uses: Literal["settings", "curve", "evaluation"]) -> bool:
        """Whether its name is a usual one for any of these uses."""
        stem = self.path.stem
        return any(re.search(_USUAL_NAMES[use], stem, re.IGNORECASE) for use in uses)

    def read_bytes(self) -> bytes:
        """The content, of the size that the file had when it was found.

        Files of the system (``/proc``) say that they are empty, and some can be read for ever.
        """
        with self.path.open("rb") as file:
            return file.read(self.n_bytes)

    def note(self, role: Role, why: str = "", digest: str = "") -> FileNote:
        return FileNote(self.name, role, self.n_bytes, digest, why)


def run_file(path: Path, root: Path) -> RunFile | None:
    """The file at a path below `root`; None if it is no regular file.

    A link to a file below `root` is that file. Any other link is not followed, because what is
    read is kept, and an imported folder could thus copy any file of its reader.
    """
    try:
        status = path.stat()
        outside = path.is_symlink() and not path.resolve().is_relative_to(root.resolve())
    except (OSError, ValueError, RuntimeError):
        return None
    if not stat.S_ISREG(status.st_mode):
        return None
    if outside:
        why = "is a link out of the imported folder and is not followed; copy the file here"
        return RunFile(path, relative(path, root), "other", why, 0, path.lstat().st_mtime)
    return RunFile(path, relative(path, root), *_kind_of(path), status.st_size, status.st_mtime)


def _kind_of(path: Path) -> tuple[RunFileKind, str]:
    """The kind of a file by its name; for ``refused`` and ``other`` also why it is not read."""
    name, suffix = path.name.lower(), path.suffix.lower()
    for pattern, kind, why in _KINDS:
        if re.fullmatch(pattern, name, re.DOTALL):
            return kind, why
    if suffix in ("", ".txt") or suffix[1:].isdigit():
        return ("log", "") if _LOG_NAME.search(name) else ("other", _NEITHER)
    return "other", f"files ending in {suffix} are not read"


def relative(path: Path, root: Path) -> str:
    """The path below the root, with ``/`` and printable characters only."""
    return printable(path.relative_to(root).as_posix())


def printable(text: str) -> str:
    """The text with every character that cannot be printed replaced by U+FFFD."""
    return "".join(char if char.isprintable() else "\ufffd" for char in text)


def decode(content: bytes) -> str:
    """Decode UTF-8, UTF-16, or else Latin-1; a byte order mark is removed."""
    return content.decode(_encoding(content, is_whole=True), errors="replace")


def json_value(text: str) -> Any:
    """The value of a JSON text.

    Raises:
        ValueError: it is no JSON; the text says where, and how to mend it.
    """
    try:
        return json.loads(text)
    except ValueError as error:
        raise ValueError(f"is not valid JSON: {json_mistake(error)}") from None


def _encoding(content: bytes, is_whole: bool) -> str:
    """The encoding of a text, of which `content` is the whole or the beginning."""
    if encoding := utf_16(content):
        return encoding
    try:
        codecs.getincrementaldecoder("utf-8-sig")().decode(content, final=is_whole)
    except UnicodeDecodeError:
        return "latin-1"
    return "utf-8-sig"


@dataclass
class TextFile:
    """A text file that is read line by line; reading fills the attributes below.

    Attributes:
        skipped_bytes: bytes left out after the first line, where the file exceeds the limit.
        cut_off: whether the last line has no line end.
        digest: SHA-256 of the part that was read, once `lines` is exhausted.
    """

    file: RunFile
    skipped_bytes: int = 0
    cut_off: bool = False
    digest: str = ""

    def lines(self) -> Iterator[str]:
        """Yield the lines without their ends; a carriage return (progress bars) ends a line too.

        Raises:
            Refused: the file is a pickle or an archive.
        """
        digest = hashlib.sha256()
        if not self.file.n_bytes:  # files of the system say so, and some can be read for ever
            self.digest = digest.hexdigest()
            return
        with self.file.path.open("rb") as file:
            head = file.read(_BLOCK)
            if looks_like_pickle(head) or head.startswith(b"PK\x03\x04"):
                raise Refused("pickles and archives are never opened")
            decoder = codecs.getincrementaldecoder(_encoding(head, is_whole=False))("replace")
            rest, block = "", head
            if self.file.n_bytes > MOST_CURVE_BYTES:
                digest.update(head)
                first, _, _ = head.partition(b"\n")
                yield decoder.decode(first).rstrip("\r")
                decoder.reset()
                self.skipped_bytes = self.file.n_bytes - MOST_CURVE_BYTES
                file.seek(self.skipped_bytes)
                file.readline(_MOST_LINE)
                block = file.read(_BLOCK)
            while block:
                digest.update(block)
                *whole, rest = (rest + decoder.decode(block)).replace("\r", "\n").split("\n")
                yield from whole
                rest = rest[-_MOST_LINE:]
                block = file.read(_BLOCK)
        self.digest = digest.hexdigest()
        if rest:
            self.cut_off = True
            yield rest
