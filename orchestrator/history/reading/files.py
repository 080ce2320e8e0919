"""Files of a run folder: the kind of each by its name, and its text read up to a size limit."""

import codecs
import hashlib
import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from decoder.plain_pickle import looks_like_pickle

Role = Literal["settings", "course", "evaluation", "refused", "not read", "unreadable"]
RunFileKind = Literal["yaml", "json", "toml", "pickle", "jsonl", "csv", "log", "refused", "other"]

MOST_SETTINGS_BYTES = 4 << 20
MOST_CURVE_BYTES = 64 << 20
_MOST_LINE = 1 << 20
_BLOCK = 1 << 20

_WEIGHTS_SUFFIXES = (".pt", ".pth", ".ckpt", ".bin", ".onnx")
_NOT_READ = {
    **dict.fromkeys((".safetensors", ".h5", ".hdf5", ".mat", ".npy", ".npz"), "arrays are"),
    **dict.fromkeys((".png", ".jpg", ".jpeg", ".svg", ".pdf", ".gif"), "pictures are"),
    **dict.fromkeys((".py", ".ipynb", ".sh", ".slurm", ".sbatch", ".patch", ".diff"), "code is"),
    **dict.fromkeys((".md", ".rst", ".html", ".docx"), "documents are"),
    **dict.fromkeys((".wandb", ".db", ".sqlite", ".parquet"), "databases are"),
    **dict.fromkeys((".zip", ".gz", ".tar", ".tgz", ".xz", ".zst", ".7z"), "archives are"),
}
_KINDS: dict[str, RunFileKind] = {
    **{".yaml": "yaml", ".yml": "yaml", ".json": "json", ".toml": "toml"},
    **{".jsonl": "jsonl", ".ndjson": "jsonl", ".csv": "csv", ".tsv": "csv"},
    **{".log": "log", ".out": "log", ".err": "log"},
}
_OTHER_DATA = re.compile(
    r"train_val_trials|wandb-(metadata|summary)|^(hydra|overrides|conda|environment|requirements)"
    r"\.|^package(-lock)?\.|^tsconfig|^vocab|^phon|^dataset_info|^\."
)
_SETTINGS_NAME = re.compile(
    r"config|args|hparam|hyper|param|setting|^cfg|_cfg|^conf\b|options|^opts|einstell|konfig",
    re.IGNORECASE,
)
_EVALUATION_NAME = re.compile(
    r"^(eval|evaluation|test|val|final|best)[\w.-]*$|results?$|scores?$", re.IGNORECASE
)
_CURVE_NAME = re.compile(r"histor|metrics|stats|trainer_state|curve|log|losses", re.IGNORECASE)
_LOG_NAME = re.compile(
    r"log|stdout|stderr|output|console|train|slurm|nohup|ausgabe|protokoll", re.IGNORECASE
)
_WEIGHTS_NAME = re.compile(r"^(best|final)?_?checkpoint(_batch_\d+)?$|^modelweights", re.IGNORECASE)


@dataclass(frozen=True)
class FileNote:
    """One file of a run, and how it was used.

    Attributes:
        path: relative to the imported folder.
        role: what the file was read as; ``course`` is a learning curve.
        n_bytes: size of the file.
        digest: SHA-256 of the part that was read; "" if the file was not read.
        note: why the file was not read; "" if it was.
    """

    path: str
    role: Role
    n_bytes: int
    digest: str = ""
    note: str = ""


def kind_of(path: Path) -> tuple[RunFileKind, str]:
    """The kind of a file by its name; for ``refused`` and ``other`` also why it is not read."""
    name, suffix = path.name.lower(), path.suffix.lower()
    if ".tfevents." in name:
        return "other", "TensorBoard events are not read; export them as CSV"
    if suffix in _WEIGHTS_SUFFIXES or _WEIGHTS_NAME.match(name):
        return "refused", "weights are never opened"
    if suffix in _NOT_READ:
        return "other", f"{_NOT_READ[suffix]} not read"
    if name in ("args", "args.pkl", "args.pickle"):
        return "pickle", ""
    if suffix in (".pkl", ".pickle") or name == "trainingstats":
        return "refused", "pickles are refused, because opening one can run any code"
    if suffix in _KINDS and not (_KINDS[suffix] in ("yaml", "json") and _OTHER_DATA.search(name)):
        return _KINDS[suffix], ""
    maybe_log = suffix in ("", ".txt") or suffix[1:].isdigit()
    if maybe_log and _LOG_NAME.search(name):
        return "log", ""
    if maybe_log or suffix in _KINDS:
        return "other", "by its name it holds neither settings nor a learning curve"
    return "other", f"files ending in {suffix} are not read"


def settings_by_name(path: Path) -> bool:
    """Whether a YAML, JSON or TOML file has a usual name of settings."""
    return _SETTINGS_NAME.search(path.stem) is not None


def curve_by_name(path: Path) -> bool:
    """Whether a JSON file has a usual name of a learning curve."""
    return _CURVE_NAME.search(path.stem) is not None


def evaluation_by_name(path: Path) -> bool:
    """Whether a JSON file has a usual name of a final evaluation."""
    return _EVALUATION_NAME.search(path.stem) is not None


def regular_file(path: Path) -> tuple[int, float] | None:
    """Size in bytes and time of last change; None if it is no regular file. Follows links."""
    try:
        status = path.stat()
    except (OSError, ValueError):
        return None
    return (status.st_size, status.st_mtime) if stat.S_ISREG(status.st_mode) else None


def printable(text: str) -> str:
    """The text with every character that cannot be printed replaced by U+FFFD."""
    return "".join(char if char.isprintable() else "\ufffd" for char in text)


def decode(content: bytes) -> str:
    """Decode UTF-8, UTF-16 with a byte order mark, or else Latin-1; the mark is removed."""
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return content.decode("utf-16", errors="replace")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        return content.decode("latin-1")


@dataclass
class TextFile:
    """A text file that is read line by line; reading fills the attributes below.

    Attributes:
        path: the file.
        n_bytes: its size.
        skipped_bytes: bytes left out after the first line, where the file exceeds the limit.
        cut_off: whether the last line has no line end.
        digest: SHA-256 of the part that was read, once `lines` is exhausted.
        pickled: whether the file is a pickle or an archive; then it has no lines.
    """

    path: Path
    n_bytes: int
    skipped_bytes: int = 0
    cut_off: bool = False
    digest: str = ""
    pickled: bool = False

    def lines(self) -> Iterator[str]:
        """Yield the lines without their ends; a carriage return (progress bars) ends a line too."""
        digest = hashlib.sha256()
        with self.path.open("rb") as file:
            head = file.read(_BLOCK)
            if looks_like_pickle(head) or head.startswith(b"PK\x03\x04"):
                self.pickled = True
                return
            digest.update(head)
            encoding = _encoding(head)
            decoder = codecs.getincrementaldecoder(encoding)(errors="replace")
            rest, block = "", head
            if self.n_bytes > MOST_CURVE_BYTES:
                first, _, _ = head.partition(b"\n")
                yield decoder.decode(first).rstrip("\r")
                decoder.reset()
                self.skipped_bytes = self.n_bytes - MOST_CURVE_BYTES
                file.seek(self.skipped_bytes)
                file.readline(_MOST_LINE)
                block = file.read(_BLOCK)
                digest.update(block)
            while block:
                *whole, rest = (rest + decoder.decode(block)).replace("\r", "\n").split("\n")
                yield from whole
                rest = rest[-_MOST_LINE:]
                block = file.read(_BLOCK)
                digest.update(block)
        self.digest = digest.hexdigest()
        if rest:
            self.cut_off = True
            yield rest


def _encoding(head: bytes) -> str:
    if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "utf-16"
    try:
        codecs.getincrementaldecoder("utf-8-sig")().decode(head)
    except UnicodeDecodeError:
        return "latin-1"
    return "utf-8-sig"
