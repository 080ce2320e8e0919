"""A decoder of the user's: its file, its answer, and what goes wrong with it."""

import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from decoder.errors import DataError
from decoder.phonemes import BLANK, CLASSES, N_CLASSES
from decoder.words.command import decode_by_command
from decoder.words.evaluate import WordTrial, evaluate_sentences

EXAMPLE = Path(__file__).parents[3] / "ablations" / "examples" / "word_decoder.py"
SAID = {
    "we see": "W IY SIL S IY SIL",
    "a cat": "AH SIL K AE T SIL",
    "the sea, it's deep": "DH AH SIL S IY SIL IH T S SIL D IY P SIL",
}


def trial(sentence: str, number: int) -> WordTrial:
    path = [BLANK]
    for name in SAID[sentence].split():
        path += [CLASSES.index(name), BLANK]
    log_probs = np.full((len(path), N_CLASSES), -9.0, np.float32)
    log_probs[np.arange(len(path)), path] = -0.01
    return WordTrial(log_probs, sentence, "t15.2023.08.11", 3, number)


TRIALS = [trial(one, i) for i, one in enumerate(SAID)]


def answered(script: str, n: int = 3, seconds: float = 60) -> list[str]:
    """What a Python script answers, which finds its files in `logits` and `sentences`."""
    start = "import sys, numpy as np; logits, sentences = sys.argv[1:]\n"
    argv = [sys.executable, "-c", start + script, "{logits}", "{sentences}"]
    return decode_by_command(TRIALS[:n], argv, seconds)


def test_the_example_decodes_every_trial(tmp_path: Path) -> None:
    known = tmp_path / "known.txt"
    known.write_text("".join(f"{text}\t{spoken}\n" for text, spoken in SAID.items()))
    argv = [sys.executable, str(EXAMPLE), "{logits}", "{sentences}", str(known)]
    found = decode_by_command(TRIALS, argv, 60)
    assert found == ["we see", "a cat", "the sea it's deep"]
    result = evaluate_sentences(TRIALS, found)
    assert (result.errors.n_edits, result.errors.n_reference) == (0, 8)


def test_the_file_has_the_official_order_of_classes_and_says_which_trial_is_which() -> None:
    found = answered(
        "with np.load(logits) as f: a = {k: f[k] for k in f.files}\n"
        "assert a['classes'].tolist()[:3] == ['BLANK', 'SIL', 'AA'] and a['format'] == 1\n"
        "assert a['offsets'].tolist() == [0, 13, 26, 55] and a['logits'].shape == (55, 41)\n"
        "assert a['session'].tolist() == ['t15.2023.08.11'] * 3 and a['labels'].size == 0\n"
        "assert a['trial'].tolist() == [0, 1, 2] and a['block'].tolist() == [3, 3, 3]\n"
        "best = a['classes'][a['logits'][1:13].argmax(1)].tolist()\n"
        "open(sentences, 'w').write('id,text\\n0,' + ' '.join(best) + '\\n2,c\\n1,b\\n')\n"
    )
    assert found == ["w blank iy blank sil blank s blank iy blank sil blank", "b", "c"]


def test_lines_in_any_order_quotes_and_marks_become_plain_sentences() -> None:
    text = '\ufeffid,text\r\n1,"It\u2019s, \x1b[31mCaf\u00e9 \u202e\nagain"\r\n\r\n0,\r\n'
    found = answered(f"open(sentences, 'w', encoding='utf-8', newline='').write({text!r})", n=2)
    assert found == ["", "it's mcafe again"]


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ("id,text\n0,a\n1,b\n", "2"),
        ("id,text\n0,a\n1,b\n1,c\n", "1,c"),
        ("id,text\n0,a\n1,b\n3,c\n", "3,c"),
        ("id,text\n0,a\n1,b\n-1,c\n", "-1,c"),
        ("id,text\n0,a\n1,b\n2,c,d\n", "2,c,d"),
        ("id,text\n0,a\n1,b\n2\n", "'2'"),
        ("0,a\n1,b\n2,c\n", "id,text"),
        ('id,text\n0,a\n1,b\n2,"c\n', "quot|end"),
        ("", "id,text"),
    ],
)
def test_an_answer_that_does_not_fit_is_refused(lines: str, said: str) -> None:
    with pytest.raises(DataError, match=said):
        answered(f"open(sentences, 'w').write({lines!r})")


def test_an_answer_that_is_not_text_or_too_long_or_absent_is_refused() -> None:
    with pytest.raises(DataError, match="utf-8"):
        answered(r"open(sentences, 'wb').write(b'id,text\n0,\xff\n')")
    with pytest.raises(DataError, match="30,000 bytes"):
        answered("open(sentences, 'w').write('id,text\\n0,' + 'a' * 40000)")
    with pytest.raises(DataError, match="printed last: nothing to say"):
        answered("print('nothing to say')")


def test_a_command_that_fails_shows_the_end_of_what_it_printed() -> None:
    with pytest.raises(DataError, match="exit code 3.*the end") as caught:
        answered("print('x' * 10**7, chr(27), 'the end'); raise SystemExit(3)")
    assert len(str(caught.value)) < 3000
    assert "\x1b" not in str(caught.value)


def test_a_command_that_cannot_start_is_named() -> None:
    with pytest.raises(DataError, match="no-such-program"):
        decode_by_command(TRIALS, ["no-such-program"], 5)
    assert decode_by_command([], ["no-such-program"], 5) == []


def test_a_word_of_the_command_is_never_read_by_a_shell(tmp_path: Path) -> None:
    argv = [sys.executable, "-c", "raise SystemExit(7)", f"; touch {tmp_path}/made", "$(id)"]
    with pytest.raises(DataError, match="exit code 7"):
        decode_by_command(TRIALS, argv, 60)
    assert not list(tmp_path.iterdir())


def test_a_command_that_takes_too_long_is_ended_with_what_it_started(tmp_path: Path) -> None:
    pid_path = tmp_path / "pid"
    script = (
        "import subprocess, sys, time\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\n"
        f"open({str(pid_path)!r}, 'w').write(str(child.pid)); time.sleep(600)\n"
    )
    started = time.monotonic()
    with pytest.raises(DataError, match="8 seconds"):
        answered(script, seconds=8)
    assert time.monotonic() - started < 60
    child = int(pid_path.read_text())
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline and _lives(child):
        time.sleep(0.05)
    assert not _lives(child)


def test_a_command_ends_with_the_process_that_started_it_even_if_that_is_killed(
    tmp_path: Path,
) -> None:
    pid_path = tmp_path / "pid"
    sleeper = (
        f"import os, time; open({str(pid_path)!r}, 'w').write(str(os.getpid())); time.sleep(600)"
    )
    code = (
        "import sys, numpy as np\n"
        "from decoder.words.command import decode_by_command\n"
        "from decoder.words.evaluate import WordTrial\n"
        "trial = WordTrial(np.zeros((3, 41), np.float32), None, 'a', 1, 0)\n"
        f"decode_by_command([trial], [sys.executable, '-c', {sleeper!r}], 600)\n"
    )
    with subprocess.Popen([sys.executable, "-c", code]) as worker:
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline and not (pid_path.exists() and pid_path.read_text()):
            time.sleep(0.05)
        command = int(pid_path.read_text())
        time.sleep(1)  # the process that watches starts after it
        assert _lives(command)
        worker.kill()
    while time.monotonic() < deadline and _lives(command):
        time.sleep(0.05)
    assert not _lives(command)


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False
