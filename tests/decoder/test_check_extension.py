"""`check-extension`: a good file passes, and each kind of mistake is found by its check."""

import json
from pathlib import Path

import pytest

from decoder.__main__ import main
from decoder.check_extension import Finding, check_extension

HEAD = """import torch
from torch import nn
from typing import Annotated
from decoder.parts import *
class P(Parameters):
    p: Annotated[Probability, PER_RUN] = 0.25
"""
EXAMPLE = Path(__file__).parents[2] / "ablations/examples/own_parts.py"

MISTAKES = {
    "a pack against each run alone": (
        "@augmentation('bad', P)\ndef bad(x, n, runs, g):\n"
        "    p = torch.tensor([own.p for own in runs])[:, None, None, None]\n"
        "    return x + p * torch.randn(x.shape, generator=g)\n"
    ),
    "the same again": (
        "@augmentation('bad')\ndef bad(x, n, runs, g):\n"
        "    return x + torch.rand(x.shape[1:], generator=FREE)\n"
        "FREE = torch.Generator().manual_seed(1)\n"
    ),
    "stopped and resumed": (
        "@layer('bad', place='after')\nclass Bad(nn.Module):\n"
        "    def __init__(self, n, p):\n        super().__init__()\n"
        "        self.a, self.n = nn.Linear(n, 5), 0\n"
        "    def forward(self, x):\n        self.n += 1\n        return self.a(x) * self.n\n"
    ),
    "gradients": (
        "@layer('bad', place='after')\nclass Bad(nn.Module):\n"
        "    def __init__(self, n, p):\n        super().__init__()\n"
        "        self.a, self.dead = nn.Linear(n, 5), nn.Linear(n, 5)\n"
        "    def forward(self, x):\n        return self.a(x)\n"
    ),
    "effect": "@loss('bad')\ndef bad(l, t, n, m, runs):\n    return torch.zeros(len(l))\n",
    "shapes": "@metric('bad')\ndef bad(l, t, n, m, runs):\n    return l.mean((1, 2, 3))\n",
    "loading changes nothing else": (
        "torch.manual_seed(1)\n@loss('bad')\ndef bad(l, t, n, m, runs):\n"
        "    return l.square().mean((1, 2, 3))\n"
    ),
}


def findings(tmp_path: Path, text: str) -> list[Finding]:
    (tmp_path / "mine.py").write_text(HEAD + text)
    return list(check_extension(["mine.py"], "cpu", tmp_path))


# Name of a part → the check that finds its mistake.
WRONG_VALUES = {
    "twice": "shapes",
    "late": "shapes",
    "mean": "shapes",
    "turned": "shapes",
    "constant": "effect",
    "broken": "gradients",
}
OF_WRONG_VALUES = """
@layer('twice', place='after')
class Twice(nn.Module):
    def __init__(self, n, p):
        super().__init__()
        self.a = nn.Linear(n, 5)
    def forward(self, x):
        return self.a(x).double()
@layer('late', place='after')
class Late(nn.Module):
    def __init__(self, n, p):
        super().__init__()
        self.a = nn.Linear(n, 5)
    def forward(self, x):
        y = self.a(x).exp()
        y += 1  # which PyTorch refuses in the backward pass
        return y
@loss('mean')
def mean(l, t, n, m, runs):
    return l.square().mean()
@metric('turned')
def turned(l, t, n, m, runs):
    return l.mean((1, 2, 3)) * 1j, 1.0
@loss('constant')
def constant(l, t, n, m, runs):
    return torch.ones(len(l))
@loss('broken')
def broken(l, t, n, m, runs):
    return l.mean((1, 2, 3)) / 0
"""


def test_values_that_training_cannot_use_are_named_and_end_the_trial(tmp_path: Path) -> None:
    failed = [one for one in findings(tmp_path, OF_WRONG_VALUES) if one.problem]
    assert {one.part.split("'")[1]: one.check for one in failed} == WRONG_VALUES
    assert len(failed) == len(WRONG_VALUES)
    of = {one.part.split("'")[1]: one.problem for one in failed}
    assert "torch.float64" in of["twice"] and "inplace" in of["late"]
    assert all(f"{tmp_path / 'mine.py'}:" in problem for problem in of.values())


@pytest.mark.parametrize("check", MISTAKES)
def test_each_mistake_is_found_by_its_check(check: str, tmp_path: Path) -> None:
    found = {one.check: one.problem for one in findings(tmp_path, MISTAKES[check])}
    assert found[check]
    if check != "loading changes nothing else":
        assert found[check].startswith(f"{tmp_path / 'mine.py'}:")
    if check == "gradients":
        assert "bad.inner.dead.weight" in found[check] and "bad.inner.a.weight" not in found[check]


def test_a_parameter_that_nothing_reads_is_named(tmp_path: Path) -> None:
    text = "@layer('one', P, place='after')\ndef one(n, p):\n    return nn.Linear(n, 5)\n"
    found = findings(tmp_path, text)
    assert not [one for one in found if one.problem]
    assert "parts.one.p" in found[-1].note


def test_it_says_how_a_pack_of_modules_is_computed(tmp_path: Path) -> None:
    text = "@layer('one', P, place='after')\n"
    text += "def one(n, p):\n    return nn.Sequential(nn.Linear(n, 5), nn.Dropout(p.p))\n"
    text += "@layer('two', place='after')\nclass Two(nn.Module):\n"
    text += "    def __init__(self, n, p):\n        super().__init__()\n"
    text += "        self.a, self.b = nn.Linear(n, 5), nn.BatchNorm1d(5)\n"
    text += "    def forward(self, x):\n        x = self.a(x)\n"
    text += "        for step in range(1 + int(x.mean() > 99)):\n"
    text += "            x = self.b(x.transpose(1, 2)).transpose(1, 2)\n        return x\n"
    found = findings(tmp_path, text)
    assert not [one for one in found if one.problem]
    notes = [one.note for one in found if one.check == "a pack against each run alone"]
    assert notes == [
        "all runs at once, or run after run where they differ in a parameter",
        "run after run",
    ]


def test_the_example_that_ships_passes(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(EXAMPLE.parent)
    assert main(["check-extension", "own_parts.py", "--device", "cpu", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["findings"]
    assert len({one["part"] for one in found}) == 4  # three parts, and the file
    assert not [one for one in found if one["problem"]]


def test_a_file_without_parts_or_with_a_failing_one_ends_with_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "empty.py").write_text("x = 1\n")
    assert main(["check-extension", str(tmp_path / "empty.py")]) == 2
    assert "registers no part" in capsys.readouterr().err
    (tmp_path / "bad.py").write_text(HEAD + MISTAKES["shapes"])
    assert main(["check-extension", str(tmp_path / "bad.py"), "--device", "cpu"]) == 2
    said = capsys.readouterr()
    assert "FAILS  shapes" in said.out and "1 check failed" in said.err
