"""Standard output holds the document alone, whoever else writes there."""

import io
import json
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout

from decoder.document import only_documents, print_document

NOISY = """
import os, subprocess, sys, warnings
from decoder.document import only_documents, print_document

print("before")
with only_documents():
    print("of Python")
    os.write(1, b"of native code\\n")
    subprocess.run([sys.executable, "-c", "print('of a process')"])
    warnings.warn("of a library")
    print_document('{"n_runs": 2}')
    sys.__stdout__.write("of a logger\\n")
print("after")
"""


def test_only_the_document_reaches_standard_output_and_all_else_standard_error() -> None:
    done = subprocess.run([sys.executable, "-c", NOISY], capture_output=True, text=True, check=True)
    first, document, last = done.stdout.splitlines()
    assert (first, json.loads(document), last) == ("before", {"n_runs": 2}, "after")
    for words in ("of Python", "of native code", "of a process", "of a library", "of a logger"):
        assert done.stderr.count(words) >= 1, words


def test_an_error_in_the_block_gives_standard_output_back() -> None:
    code = """
import os
from decoder.document import only_documents
try:
    with only_documents():
        raise ValueError
except ValueError:
    print("of Python", flush=True)
    os.write(1, b"of native code\\n")
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["of Python", "of native code"]


def test_an_object_in_the_place_of_standard_output_gets_the_document_alone() -> None:
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        with only_documents():
            print("noise")
            print_document("[]")
        print("after")
    assert (out.getvalue(), err.getvalue()) == ("[]\nafter\n", "noise\n")


def test_nothing_is_moved_if_no_document_is_wanted() -> None:
    out = io.StringIO()
    with redirect_stdout(out), only_documents(False):
        print("a table")
    assert out.getvalue() == "a table\n"
