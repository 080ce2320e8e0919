"""`orchestrator.store.reservations`: a run is trained by one live driver at a time."""

import errno
import os
import subprocess
import sys
import threading
import time
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest

from decoder.processes import process_start, this_machine
from orchestrator.store import reservations as module
from orchestrator.store.paths import Results
from orchestrator.store.reservation_files import STALE_SECONDS, Driver, drivers_now, reserved_now
from orchestrator.store.reservations import reserving

ELSEWHERE = Driver("t" * 16, "node7", 4711, "another machine", "17", "2026", "ablations", "night")


def leave(results: Results, key: str, driver: Driver, age_seconds: float = 0.0) -> Path:
    """A reservation that another driver made, last touched some seconds ago."""
    results.reservations.mkdir(parents=True, exist_ok=True)
    path = results.reservations / f"{key}.0"
    path.write_bytes(driver.to_json())
    age(path, age_seconds)
    return path


def age(path: Path, seconds: float) -> None:
    os.utime(path, (time.time() - seconds,) * 2, follow_symlinks=False)


def test_a_key_has_one_holder_until_it_is_given_back(results: Results) -> None:
    with reserving(results, "one") as one, reserving(results, "other") as other:
        assert one.reserve(["a", "b"]).taken == {"a", "b"}
        taken, busy = other.reserve(["b", "c"])
        assert taken == {"c"} and busy == {"b": one.me}
        assert one.reserve(["a"]).taken == {"a"}, "its own"
        assert {key: holder.name for key, holder in reserved_now(results).items()} == {
            "a": "one",
            "b": "one",
            "c": "other",
        }
        one.release(["b"])
        assert other.reserve(["b"]).taken == {"b"}
    assert list(results.reservations.iterdir()) == []


def test_what_an_error_leaves_is_given_back(results: Results) -> None:
    with pytest.raises(KeyboardInterrupt), reserving(results, "one") as one:
        one.reserve(["a"])
        raise KeyboardInterrupt
    assert list(results.reservations.iterdir()) == []


def test_only_one_of_many_drivers_at_once_gets_a_key(results: Results) -> None:
    keys = [f"{number:016x}" for number in range(40)]
    taken: list[str] = []
    barrier = threading.Barrier(6)
    with ExitStack() as stack:
        drivers = [stack.enter_context(reserving(results, f"x{n}")) for n in range(6)]
        # All of them meet what a dead driver left, too.
        for key in keys[:20]:
            leave(results, key, ELSEWHERE, STALE_SECONDS + 5)

        def reserve(driver: module.Reservations) -> None:
            barrier.wait()
            for start in range(0, 40, 5):
                taken.extend(driver.reserve(keys[start : start + 5]).taken)

        threads = [threading.Thread(target=reserve, args=(driver,)) for driver in drivers]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(taken) == len(set(taken)), "a key has two holders"
        assert len(taken) > 30
        assert len(list(results.reservations.glob("*.[0-9]*"))) == len(taken)


@pytest.mark.parametrize("how", ["killed", "zombie", "its id is that of another process"])
def test_a_dead_driver_of_this_machine_is_recognised_at_once(results: Results, how: str) -> None:
    process = subprocess.Popen([sys.executable, "-S", "-c", "input()"], stdin=subprocess.PIPE)
    started = process_start(process.pid)
    assert started
    of_process = replace(ELSEWHERE, machine=this_machine(), pid=process.pid, started=started)
    if how.startswith("its id"):
        of_process = replace(of_process, started="1")
    with reserving(results, "one") as one:
        path = leave(results, "a", of_process)
        if not how.startswith("its id"):
            assert one.reserve(["a"]).busy == {"a": of_process}
            age(path, 10 * STALE_SECONDS)
            assert one.reserve(["a"]).busy == {"a": of_process}, "a stopped process lives"
            process.kill()
        if how == "killed":
            process.wait()
        while process_start(process.pid) == started and not how.startswith("its id"):
            time.sleep(0.01)
        assert one.reserve(["a"]).taken == {"a"}
        assert not path.exists() and path.with_name("a.1").exists()
        assert one.former["a"] == of_process
    process.kill()
    process.communicate()


def test_a_driver_of_another_machine_is_dead_when_its_heartbeat_is_old(
    results: Results, monkeypatch: pytest.MonkeyPatch
) -> None:
    with reserving(results, "one") as one:
        path = leave(results, "a", ELSEWHERE, STALE_SECONDS - 5)
        own_clock = time.time()
        # By the clock of the file system, whatever the one of this machine says.
        monkeypatch.setattr(time, "time", lambda: own_clock + 1e6)
        assert one.reserve(["a"]).busy == {"a": ELSEWHERE}
        monkeypatch.setattr(time, "time", lambda: own_clock)
        age(path, STALE_SECONDS + 5)
        monkeypatch.setattr(time, "time", lambda: own_clock - 1e6)
        assert one.reserve(["a"]).taken == {"a"}


def test_a_driver_is_seen_to_live_when_its_heartbeat_goes_on(results: Results) -> None:
    with reserving(results, "one") as one, reserving(results, "two") as two:
        two.reserve(["b"])
        path = leave(results, "a", ELSEWHERE, 20.0)
        one.start_to_watch()
        one.reserve(["a", "b"])
        assert one.is_beating(two.me) and not one.is_beating(ELSEWHERE)
        age(path, 10.0)
        one.reserve(["a"])
        assert one.is_beating(ELSEWHERE)
        one.start_to_watch()
        one.reserve(["a"])
        assert not one.is_beating(ELSEWHERE), "it may have died since"


def test_the_heartbeat_renews_every_reservation(
    results: Results, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "BEAT_SECONDS", 0.02)
    with reserving(results, "one") as one:
        one.reserve(["a", "b"])
        for key in "ab":
            age(results.reservations / f"{key}.0", 100.0)
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            ages = [time.time() - (results.reservations / f"{k}.0").stat().st_mtime for k in "ab"]
            if max(ages) < 50:
                break
            time.sleep(0.02)
        assert max(ages) < 50


def test_without_hard_links_reservations_are_copies(
    results: Results, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_link(source: Path, target: Path) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", no_link)
    with reserving(results, "one") as one, reserving(results, "other") as other:
        assert one.reserve(["a"]).taken == {"a"}
        assert other.reserve(["a"]).busy == {"a": one.me}
        age(results.reservations / "a.0", 100.0)
        one.beat()
        assert time.time() - (results.reservations / "a.0").stat().st_mtime < 50
    assert list(results.reservations.iterdir()) == []


@pytest.mark.parametrize("content", [b"", b"no json", b"[]", b'{"token": 1}', b"\0" * 9999])
def test_garbage_holds_a_key_only_while_it_is_young(results: Results, content: bytes) -> None:
    with reserving(results, "one") as one:
        path = results.reservations / "a.0"
        path.write_bytes(content)
        assert set(one.reserve(["a"]).busy) == {"a"}, "another driver may just write it"
        age(path, STALE_SECONDS + 5)
        assert one.reserve(["a"]).taken == {"a"}
        assert not path.exists()


@pytest.mark.parametrize("what", ["folder", "pipe", "link", "dangling link"])
def test_what_is_no_file_holds_nothing_and_nothing_hangs(results: Results, what: str) -> None:
    with reserving(results, "one") as one:
        path = results.reservations / "a.0"
        if what == "folder":
            (path / "below").mkdir(parents=True)
        elif what == "pipe":
            os.mkfifo(path)
        else:
            target = results.root / "precious"
            if what == "link":
                target.write_text("kept")
            path.symlink_to(target)
        assert one.reserve(["a"]).taken == {"a"}
        assert not path.is_symlink() and not path.exists()
        assert (path.with_name("a.0.corrupt") / "below").is_dir() == (what == "folder")
        assert not what.startswith("link") or (results.root / "precious").read_text() == "kept"
        assert set(reserved_now(results)) == {"a"}


def test_the_next_driver_removes_what_dead_ones_left(results: Results) -> None:
    leave(results, "a", ELSEWHERE, STALE_SECONDS + 5)
    leave(results, "b", ELSEWHERE, 1.0)
    own = results.reservations / f"driver-{ELSEWHERE.token}"
    own.write_bytes(ELSEWHERE.to_json())
    age(own, STALE_SECONDS + 5)
    clock = results.reservations / ".clock-1234"
    clock.touch()
    age(clock, STALE_SECONDS + 5)
    with reserving(results, "one") as one:
        assert one.former["a"] == ELSEWHERE, "its checkpoints can still be found"
        assert {path.name for path in results.reservations.iterdir()} == {"b.0", one.own.name}
        assert drivers_now(results) == [one.me]
    assert drivers_now(results) == []


def test_two_drivers_that_meet_a_dead_one_at_different_times_do_not_both_take_over(
    results: Results, monkeypatch: pytest.MonkeyPatch
) -> None:
    with reserving(results, "one") as one, reserving(results, "two") as two:
        path = leave(results, "a", ELSEWHERE, STALE_SECONDS + 5)
        make = module.Reservations._make

        def meanwhile(self: module.Reservations, target: Path) -> bool:
            """While `one` believes that ``a.0`` is of a dead driver, `two` gets that very name."""
            if self is one:
                path.unlink(missing_ok=True)
                assert two.reserve(["a"]).taken == {"a"} and path.exists()
            return make(self, target)

        monkeypatch.setattr(module.Reservations, "_make", meanwhile)
        answer = one.reserve(["a"])
        assert answer.taken == set() and answer.busy == {"a": two.me}
        assert [entry.name for entry in results.reservations.glob("a.*")] == ["a.0"]
