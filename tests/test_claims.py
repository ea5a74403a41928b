"""Claims: one holder at a time, whoever asks; the dead are noticed, the living never robbed."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from threading import Thread

import pytest
from projects import ROOT, is_running, start, wait_for

from migstudy.runs import claims
from migstudy.runs import state as run_state
from migstudy.runs.claims import Claim, Claimed, holder_of
from migstudy.runs.folder import Run
from migstudy.runs.state import attempts, mark_failed, note_attempt, seconds_of, state_of

HOLD = "from pathlib import Path; import sys, time\nfrom migstudy.runs import claims\nclaims.Claim.take(Path(sys.argv[1])); time.sleep(600)"


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "runs" / "one"


def elsewhere(folder: Path, age: float, **record) -> None:
    """A claim as another machine left it `age` seconds ago."""
    folder.mkdir(parents=True, exist_ok=True)
    known = {"token": "t", "host": "far", "pid": 1, "machine": "another", "started": time.time() - age - 50, "process_started": 0}
    (folder / "claim").write_text(json.dumps({**known, **record}))
    os.utime(folder / "claim", (time.time() - age,) * 2)


def test_one_holder_at_a_time_and_nothing_left_behind(folder):
    with Claim.take(folder) as claim:
        assert (folder / "claim").exists() and holder_of(folder).alive and not claim.lost.is_set()
        with pytest.raises(Claimed, match=rf"{folder} is being worked on by .*, process {os.getpid()}, since 20"):
            Claim.take(folder)
        claim.check()
        (folder / "kept").touch()
    assert [path.name for path in folder.iterdir()] == ["kept"] and holder_of(folder) is None
    with Claim.take(folder.with_name("two")):
        pass
    assert not folder.with_name("two").exists(), "a claim alone leaves no folder"


def test_many_at_once_one_wins(folder):
    won, lost = [], []

    def race():
        try:
            won.append(Claim.take(folder))
        except Claimed as error:
            lost.append(str(error))

    for _ in range(20):
        threads = [Thread(target=race) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(won) == 1 and len(lost) == 7
        won.pop().release()
        lost.clear()


def test_the_dead_of_this_machine_are_followed_at_once(folder):
    process = start(folder.parent.parent, "-c", HOLD, str(folder))
    wait_for(lambda: holder_of(folder), process)
    wait_for(lambda: holder_of(folder).record, process)
    with pytest.raises(Claimed, match=f"process {process.pid}"):
        Claim.take(folder)
    process.kill()
    process.wait()
    with Claim.take(folder) as claim:
        assert claim.number == 1 and claim.after.record["pid"] == process.pid and not claim.after.alive
        with pytest.raises(Claimed, match=f"process {os.getpid()}"):
            Claim.take(folder)
    assert not folder.exists()


def test_those_who_wait_come_one_after_the_other(folder, monkeypatch):
    monkeypatch.setattr(claims, "_LOOK", 0.001)
    inside, most, failed = [], [], []

    def work():
        try:
            for _ in range(5):
                with Claim.wait(folder):
                    inside.append(1)
                    most.append(len(inside))
                    time.sleep(0.002)
                    inside.pop()
        except BaseException as error:
            failed.append(error)

    threads = [Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert failed == [] and most == [1] * 30 and not folder.exists()


def test_who_waits_is_next_when_the_holder_is_killed(folder):
    process = start(folder.parent.parent, "-c", HOLD, str(folder))
    wait_for(lambda: holder_of(folder) and holder_of(folder).record, process)
    taken = []
    thread = Thread(target=lambda: taken.append(Claim.wait(folder)))
    thread.start()
    thread.join(0.5)
    assert not taken, "it lives"
    process.kill()
    process.wait()
    thread.join(30)
    assert taken[0].after.record["pid"] == process.pid
    taken[0].release()


def test_a_number_that_another_process_bears_now_is_no_life(folder):
    elsewhere(folder, 0, machine=claims._machine(), pid=os.getpid(), process_started=1.0)
    assert not holder_of(folder).alive
    Claim.take(folder).release()


def test_another_machine_is_judged_by_its_heartbeat(folder, monkeypatch):
    elsewhere(folder, 10)
    with pytest.raises(Claimed, match="worked on by far, process 1"):
        Claim.take(folder)
    monkeypatch.setenv("MIGSTUDY_STALE_SECONDS", "5")
    assert Claim.take(folder).number == 1


def test_ages_are_told_by_the_file_system_s_clock(folder, monkeypatch):
    elsewhere(folder, 0)
    real = time.time
    monkeypatch.setattr(claims, "_differences", {})
    monkeypatch.setattr(claims.time, "time", lambda: real() + 3600)  # this machine's clock is an hour fast
    assert abs(holder_of(folder).age) < 5 and holder_of(folder).alive


@pytest.mark.parametrize("text", ["", "{", "[]", "\x00"])
def test_a_broken_claim_is_judged_by_its_age(folder, text, monkeypatch):
    elsewhere(folder, 0)
    (folder / "claim").write_text(text)
    with pytest.raises(Claimed, match="unknown host, process \\?"):
        Claim.take(folder)
    monkeypatch.setenv("MIGSTUDY_STALE_SECONDS", "0.01")
    time.sleep(0.05)
    Claim.take(folder).release()


def test_the_heart_beats_and_hears_that_it_was_replaced(folder, monkeypatch):
    monkeypatch.setenv("MIGSTUDY_STALE_SECONDS", "0.6")
    claim = Claim.take(folder)
    os.utime(folder / "claim", (0, 0))
    wait_for(lambda: (folder / "claim").stat().st_mtime > 1, seconds=5)
    (folder / "claim.1").write_text("{}")  # it stood still, somebody took over
    wait_for(claim.lost.is_set, seconds=5)
    with pytest.raises(Claimed, match="was taken over by another process while this one stood still"):
        claim.check()
    claim.release()
    assert (folder / "claim.1").exists() and (folder / "claim").exists(), "what is another's stays"


def test_a_claim_that_is_given_up_takes_no_newer_one_with_it(folder, monkeypatch):
    claim = Claim.take(folder)
    (folder / "claim.1").write_text("{}")
    monkeypatch.setattr(Claim, "_is_ours", lambda self: True)  # it looked a moment before
    claim.release()
    assert [path.name for path in folder.iterdir()] == ["claim.1"]


def test_what_the_dead_left_running_is_ended(folder):
    orphan = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], env={**os.environ, claims.TOKEN: "t"})
    other = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], env={**os.environ, claims.TOKEN: "u"})
    try:
        elsewhere(folder, 0, machine=claims._machine(), pid=2**22 + 1)
        Claim.take(folder).release()
        assert not is_running(orphan.pid) and is_running(other.pid)
    finally:
        orphan.kill(), other.kill()
        orphan.wait(), other.wait()


def test_a_full_disk_leaves_no_claim(folder, monkeypatch):
    import errno

    def full(*args, **kwargs):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(claims.json, "dumps", full)
        with pytest.raises(OSError, match="No space left"):
            Claim.take(folder)
    assert holder_of(folder) is None
    Claim.take(folder).release()


# -- states ----------------------------------------------------------------------------------------------------------


def test_states_follow_from_done_and_claim_alone(folder):
    run = Run(folder)
    assert state_of(run) == "missing"
    claim = Claim.take(folder)
    assert state_of(run) == "running"
    (folder / "params.json").write_text("{}")
    (folder / "run.ipynb").write_text("{}")  # papermill's word counts for nothing
    claim.release()
    assert state_of(run) == "broken"
    mark_failed(run, "KeyError: 'x'\nmore")
    assert state_of(run) == "failed" and run_state.fault_of(run) == "KeyError: 'x'\nmore"
    elsewhere(folder, 10**4)
    assert state_of(run) == "failed"
    (folder / run_state.FAILED).unlink()
    assert state_of(run) == "broken"
    (folder / "DONE").touch()
    assert state_of(run) == "done"


def test_attempts_add_up_and_a_killed_one_counts_to_its_last_heartbeat(folder, monkeypatch):
    monkeypatch.setenv("MIGSTUDY_STALE_SECONDS", "30")
    run = Run(folder)
    elsewhere(folder, 100)  # it lived for 50 s
    with Claim.take(folder) as claim:
        note_attempt(run, claim, "interrupted")
    with Claim.take(folder) as claim:
        note_attempt(run, claim, "done")
    assert [one["end"] for one in attempts(run)] == ["killed", "interrupted", "done"]
    assert attempts(run)[0]["host"] == "far" and 49 < seconds_of(run) < 55
    with Claim.take(folder) as claim:
        note_attempt(run, claim, "done")
    assert len(attempts(run)) == 1, "drawn again"
    run.path("attempts.json").write_text("{")
    assert attempts(run) == [] and seconds_of(run) is None


def test_the_module_is_no_part_of_a_run_s_identity():
    from migstudy.runs.code_version import sources_of

    apart = {f"runs/{name}.py" for name in ("claims", "state", "kernel", "listing", "interrupts")} | {"sweep/cells.py", "sweep/grid.py"}
    assert all((ROOT / "migstudy" / name).exists() for name in apart)
    assert not apart & set(sources_of("03_train_gesture")) and not apart & set(sources_of())
