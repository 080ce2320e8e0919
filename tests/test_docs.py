"""The documentation holds: links lead somewhere, examples run, and every key, option and column of
the program is named."""

import csv
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
import typer
import yaml
from pydantic import BaseModel
from shipped import ABLATIONS, EXAMPLE, EXAMPLE_TABLES, PAGES, ROOT
from shipped import DOCS as DOC_PAGES

from decoder.__main__ import main as decoder_command
from decoder.config import load_config
from orchestrator.cli.app import app
from orchestrator.query.judge.claims_file import ClaimsFile, load_claims
from orchestrator.search.load import load_search
from orchestrator.search.schema import SearchSpec
from orchestrator.spec.load import load_spec
from orchestrator.spec.schema import AblationSpec
from orchestrator.verdicts.greedy import greedy_table

DOCS = ROOT / "docs"
BASES = ABLATIONS / "base"

FENCE = re.compile(r"^```([^\n]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"!?\[(?:[^\[\]]|\[[^\]]*\])*\]\(([^)\s]+)\)")
CODE = re.compile(r"`([^`\n]+)`")
OPTION = re.compile(r"--[a-z][a-z-]*")


def blocks(path: Path, language: str) -> list[str]:
    """The fenced blocks of a page whose opening line says exactly `language`."""
    return [text for info, text in FENCE.findall(path.read_text()) if info == language]


def section(path: Path, title: str) -> str:
    """The text below a heading, up to the next one of the same or a higher level."""
    found = re.search(
        rf"^(#+) {re.escape(title)}\n(.*?)(?=^#{{1,3}} |\Z)",
        path.read_text(),
        re.MULTILINE | re.DOTALL,
    )
    assert found, f"{path.name} has no section '{title}'"
    return found[2]


def first_column(text: str) -> set[str]:
    """What stands in backticks in the first cell of the rows of the tables in `text`."""
    cells = [line.split("|")[1] for line in text.splitlines() if line.startswith("|")]
    return {name for cell in cells for name in CODE.findall(cell)}


# Links


def anchors(path: Path) -> set[str]:
    """The anchors that GitHub gives to a page's headings."""
    text = FENCE.sub("", path.read_text())
    titles = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_relative_link_and_image_leads_to_a_file_of_the_project(page: Path) -> None:
    text = FENCE.sub("", page.read_text())
    for target in LINK.findall(text):
        if re.match(r"[a-z]+:", target):
            continue
        name, _, anchor = target.partition("#")
        path = (page.parent / name).resolve() if name else page
        assert path.is_relative_to(ROOT) and path.exists(), f"{target} leads nowhere"
        if anchor:
            assert anchor in anchors(path), f"{target}: {path.name} has no such heading"


def test_every_page_of_the_documentation_is_linked_from_the_readme() -> None:
    targets = LINK.findall((ROOT / "README.md").read_text())
    linked = {target.partition("#")[0] for target in targets}
    assert {f"docs/{page.name}" for page in DOC_PAGES} == {
        target for target in linked if target.startswith("docs/")
    }


def test_the_readme_keeps_its_two_commands_and_shows_a_figure_before_it_explains_a_verdict() -> (
    None
):
    readme = ROOT / "README.md"
    assert blocks(readme, "sh") == [
        "pip install -e . && python -m orchestrator run ablations/blank_collapse.yaml\n",
        "pip install -e '.[test]' && pytest -n 2 --dist loadfile\n",
    ]
    verdict = section(readme, "What a verdict looks like")
    assert verdict.lstrip().startswith("![")


def test_the_verdicts_quoted_in_the_readme_are_those_of_the_example() -> None:
    text = section(ROOT / "README.md", "What a verdict looks like")
    quotes = re.findall(r"\*\*(\w+)[^*]*\*\* · (.+?\.) —", " ".join(text.replace(">", "").split()))
    with (EXAMPLE / "verdicts.csv").open() as file:
        words = {row["claim"]: row["verdict"] for row in csv.DictReader(file)}
    assert quotes and all(words[claim] == word for word, claim in quotes)


# Examples


def yaml_examples() -> Iterator[tuple[str, str, str]]:
    """(page and number, the complete file that opens the page, the example)."""
    for page in DOC_PAGES:
        found = blocks(page, "yaml")
        for number, text in enumerate(found):
            yield f"{page.stem}-{number}", found[0], text


@pytest.mark.parametrize(
    ("complete", "example"),
    [pytest.param(*texts, id=name) for name, *texts in yaml_examples()],
)
def test_every_yaml_example_is_a_valid_file(tmp_path: Path, complete: str, example: str) -> None:
    """A part of a file takes the place of the same keys in the page's first file."""
    (tmp_path / "base").symlink_to(BASES)
    check_example(tmp_path, complete, example)


OF_A_TRAINER = """\
lr_max: 0.005
lr_max_day: 0.005
num_training_batches: 120000
seed: 10
output_dir: none
checkpoint_dir: none
dataset: {seed: 1, dataset_dir: ../data}
"""


def test_every_example_with_a_trainer_is_a_valid_file(tmp_path: Path) -> None:
    examples = blocks(DOCS / "trainers.md", "yaml trainer")
    assert len(examples) == 3
    (tmp_path / "model_training").mkdir()
    (tmp_path / "model_training" / "rnn_args.yaml").write_text(OF_A_TRAINER)
    (tmp_path / "model_training" / "train_model.py").touch()
    for example in examples:
        check_example(tmp_path, examples[0], example)


def check_example(tmp_path: Path, complete: str, example: str) -> None:
    path = tmp_path / "example.yaml"
    keys = yaml.safe_load(example)
    if "name" not in keys:
        left = re.split(r"^(?=\w)", complete, flags=re.MULTILINE)
        example += "".join(part for part in left if part.partition(":")[0] not in keys)
    path.write_text(example)
    if "space" in yaml.safe_load(example):
        load_search(path)
        return
    load_spec(path)
    for profile in keys.get("profiles", ()):
        load_spec(path, profile)


@pytest.mark.parametrize("page", DOC_PAGES, ids=lambda path: path.stem)
def test_every_example_of_a_configuration_is_valid(tmp_path: Path, page: Path) -> None:
    for text in blocks(page, "yaml config"):
        (tmp_path / "base.yaml").write_text(text)
        load_config(tmp_path / "base.yaml")


@pytest.mark.parametrize("page", DOC_PAGES, ids=lambda path: path.stem)
def test_every_example_of_a_claims_file_is_valid(tmp_path: Path, page: Path) -> None:
    for text in blocks(page, "yaml claims"):
        (tmp_path / "claims.yaml").write_text(text)
        load_claims(tmp_path / "claims.yaml")


@pytest.mark.parametrize(
    "page",
    [page for page in PAGES if blocks(page, "python")],
    ids=lambda path: path.stem,
)
def test_the_python_examples_of_a_page_run_one_after_the_other(
    page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    for text in blocks(page, "python"):
        exec(compile(text, str(page), "exec"), names)


# Nothing goes unnamed


def keys_of(model: type[BaseModel]) -> Iterator[str]:
    """Every key of a section, and of the sections within it, as YAML spells it."""
    for name, field in model.model_fields.items():
        yield field.alias or name
        yield from keys_within(field.annotation)


def keys_within(annotation: Any) -> Iterator[str]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield from keys_of(annotation)
    for inner in get_args(annotation):
        yield from keys_within(inner)


@pytest.mark.parametrize(("page", "spec"), [("ablations", AblationSpec), ("searches", SearchSpec)])
def test_every_key_of_a_file_is_explained(page: str, spec: type[BaseModel]) -> None:
    text = (DOCS / f"{page}.md").read_text()
    if page == "searches":  # explained there, and linked
        text += section(DOCS / "ablations.md", "When a run counts as collapsed")
    text += section(DOCS / "trainers.md", "Keys of the section")
    text += section(DOCS / "trainers.md", "Metrics")
    explained = set(CODE.findall(FENCE.sub("", text)))
    assert not set(keys_of(spec)) - explained


def test_every_key_of_a_claims_file_is_explained() -> None:
    explained = first_column(section(DOCS / "judging.md", "The claims file"))
    assert explained == {field.alias or name for name, field in ClaimsFile.model_fields.items()}


def commands(group: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """(words after ``python -m orchestrator``, command), a group with its own options included."""
    for name, command in group.commands.items():
        words = f"{prefix}{name}"
        inner = getattr(command, "commands", None)
        if inner is None or command.invoke_without_command:
            yield words, command
        if inner is not None:
            yield from commands(command, f"{words} ")


@pytest.mark.parametrize(
    ("words", "command"),
    [pytest.param(*found, id=found[0]) for found in commands(typer.main.get_command(app))],
)
def test_every_command_and_option_is_mentioned(words: str, command: Any) -> None:
    page = DOCS / "commands.md"
    text = section(page, words)
    assert f"python -m orchestrator {words}" in text
    options = {
        option
        for param in command.params
        for option in (*param.opts, *param.secondary_opts)
        if option.startswith("--") and option != "--help"
    }
    mentioned = set(OPTION.findall(text))
    assert options <= mentioned
    assert mentioned <= options, "names an option that the command does not have"


def test_every_option_of_the_program_itself_is_mentioned() -> None:
    options = {option for param in typer.main.get_command(app).params for option in param.opts}
    assert options - {"--help"} <= set(OPTION.findall((DOCS / "commands.md").read_text()))


def test_every_option_of_the_decoder_is_mentioned(capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("evaluate", "export", "train"):
        with pytest.raises(SystemExit):
            decoder_command([name, "--help"])
        options = set(OPTION.findall(capsys.readouterr().out)) - {"--help"}
        assert options == first_option_column(section(DOCS / "commands.md", f"decoder {name}"))


def first_option_column(text: str) -> set[str]:
    return {name.split()[0] for name in first_column(text)}


@pytest.mark.parametrize("path", EXAMPLE_TABLES, ids=lambda path: path.stem)
def test_the_columns_of_every_table_are_explained(path: Path) -> None:
    with path.open() as file:
        header = next(csv.reader(file))
    columns = {"factor.NAME" if name.startswith("factor.") else name for name in header}
    assert first_column(section(DOCS / "results.md", path.stem)) == columns


def test_the_columns_of_a_greedy_path_are_explained() -> None:
    assert first_column(section(DOCS / "results.md", "greedy")) == set(greedy_table(()).columns)


def test_every_dependency_is_listed_with_its_licence() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = [*project["dependencies"], *sum(project["optional-dependencies"].values(), [])]
    names = {re.split(r"[\[=><]", text)[0] for text in wanted} - {project["name"]}
    rows = [
        line.split("|")
        for line in (DOCS / "licences.md").read_text().splitlines()
        if line.startswith("|")
    ]
    listed = {row[1].strip(): row[3].strip() for row in rows}
    assert names <= set(listed) and all(listed[name] for name in names)


def test_the_citation_and_the_licence_agree_with_the_package() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation["cff-version"] == "1.2.0"
    assert {"message", "title", "authors"} <= set(citation)
    assert citation["version"] == project["version"]
    assert citation["license"] == project["license"] == "MIT"
    assert all((ROOT / name).is_file() for name in project["license-files"])
