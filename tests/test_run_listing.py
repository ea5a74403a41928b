"""Runs listed, compared and cleared away; what is claimed, young or worth something stays."""

import os
import time
from pathlib import Path

import pytest
from projects import write_notebook
from typer.testing import CliRunner

from migstudy.cli import app
from migstudy.config.gesture import GestureConfig
from migstudy.runs import folder as runs
from migstudy.runs import listing as run_listing
from migstudy.runs.claims import Claim
from migstudy.runs.folder import Run, open_run
from migstudy.runs.state import mark_failed

TASK = "03_train_gesture"


@pytest.fixture(autouse=True)
def project(tmp_path, monkeypatch):
    monkeypatch.setenv("MIGSTUDY_ROOT", str(tmp_path))
    monkeypatch.delenv(runs.RUNNER, raising=False)
    return tmp_path


def call(*words):
    return CliRunner().invoke(app, ["runs", *map(str, words)])


def trained(done: bool = True, fingerprint: str = "f", **changes) -> Run:
    run = open_run(TASK, GestureConfig(profile="smoke", **changes).resolved().to_dict(), fingerprint)
    if done:
        run.write_json("metrics.json", {"test_top1": 0.25 + changes.get("seed", 0) / 10, "test_macro_f1": 0.125, "source": "toy"})
        run.finish()
    return run


def drawn(n: int, fingerprint: str, started: str, done: bool = True) -> Run:
    run = open_run("90_draw", {"n": n}, fingerprint)
    run.write_json("env.json", run.read_json("env.json") | {"started": started})
    if done:
        run.finish()
    return run


def age(run: Run, hours: float = 2) -> Run:
    """As if nobody had written to it since."""
    past = time.time() - 3600 * hours
    for path in (*run.folder.rglob("*"), run.folder):
        os.utime(path, (past, past))
    return run


def names(found) -> set[str]:
    return {one.path.name for one in found}


def test_a_list_shows_state_odd_parameters_metrics_and_commit():
    one, two, failed = trained(), trained(seed=1, topology="imigue22"), trained(done=False, seed=2)
    graph = trained(model="agcn")
    mark_failed(failed, "ValueError: no")
    table = run_listing.as_table(run_listing.list_runs()).set_index("run")
    assert table.loc[one.id, "parameters"] == "profile=smoke" and table.loc[one.id, "test_top1"] == 25.0
    assert table.loc[two.id, "parameters"] == "profile=smoke topology=imigue22 seed=1"
    assert table.loc[graph.id, "parameters"] == "profile=smoke model=agcn", "and not what the model brings with it"
    assert list(table.loc[[one.id, two.id, failed.id], "state"]) == ["done", "done", "failed"]
    assert "test_auc" not in table and table.loc[one.id, "commit"] == one.read_json("env.json")["commit"][:7]
    with Claim.take(failed.folder):
        assert {one.run.id: one.state for one in run_listing.list_runs()}[failed.id] == "running"
    shown = call("list", "--task", "03", "--state", "done", "-p", "seed=1")
    assert shown.exit_code == 0 and two.id in shown.output and one.id not in shown.output
    assert call("list", "--csv").output.splitlines()[0].startswith("run,state,parameters")
    assert call("list", "--task", "04").output == "no runs\n"


@pytest.mark.parametrize("written", ["lr=1e-3", "lr=0.001", "test_mirror=true", "test_mirror=1", "label_embedding=none"])
def test_parameters_are_asked_for_as_they_are_given(written):
    asked = trained(lr=0.001, test_mirror=True, label_embedding="none")
    trained(seed=1, lr=0.01, test_mirror=False, label_embedding="glove"), drawn(1, "f", "2026-01-01")
    found = run_listing.list_runs(where=dict([written.split("=")]))
    assert [one.run.id for one in found] == [asked.id]
    assert [one.task for one in run_listing.list_runs(where={"n": "1"})] == ["90_draw"]


@pytest.mark.parametrize(("asked", "said"), [
    (("--state", "finished"), "no state 'finished'; choose among done, running"),
    (("-p", "sead=1"), "no run has a parameter 'sead'"),
])  # fmt: skip
def test_nonsense_is_not_an_empty_list(asked, said):
    trained()
    result = call("list", *asked)
    assert result.exit_code == 2 and said in result.output and len(result.output.strip().splitlines()) == 1


def test_one_run_is_shown_whole():
    run = trained(seed=3)
    short = run.id.rpartition("-")[2][:6]
    shown = call("show", short).output
    for text in (str(run.folder), "state        done", "data         f", "seed", "0.55", "metrics.json"):
        assert text in shown
    with Claim.take(run.folder):
        assert f"held by      {os.uname().nodename}, process {os.getpid()}" in call("show", run.id).output
    assert call("show", "nothing").exit_code == 2 and "no run 'nothing'" in call("show", "nothing").output
    trained(seed=4)
    assert "stands for 2 runs" in call("show", TASK).output


def test_a_comparison_shows_what_differs_and_the_numbers():
    one, two = trained(), trained(seed=1, fingerprint="g")
    table = run_listing.compare([run_listing.listed(run) for run in (one, two)])
    assert list(table.index) == ["seed", "data fingerprint", "test_top1", "test_macro_f1"]
    assert list(table.loc["seed"]) == [0, 1] and list(table.loc["test_top1"]) == [0.25, 0.35]
    assert call("compare", one.id, two.id).exit_code == 0 and call("compare", one.id).exit_code == 2


@pytest.mark.parametrize("name", ["params.json", "metrics.json", "env.json", "attempts.json"])
def test_a_broken_file_is_told_and_stops_no_list(name):
    good, bad = trained(), trained(seed=1)
    bad.path(name).write_bytes(b'{"half')
    shown = call("list")
    assert shown.exit_code == 0 and good.id in shown.output and bad.id in shown.output
    if name != "attempts.json":
        assert f"! {bad.path(name)} cannot be read" in shown.output
    assert call("show", bad.id).exit_code == 0 and call("compare", good.id, bad.id).exit_code == 0
    age(good), age(bad)
    assert run_listing.rubbish() == [], "what cannot be read is for people to judge"


def test_clearing_takes_old_drawings_and_halves_and_nothing_of_worth(project):
    old, new = age(drawn(1, "f", "2026-01-01")), age(drawn(1, "g", "2026-01-02"))
    other, unfinished = age(drawn(2, "f", "2026-01-01")), age(drawn(3, "f", "2026-01-01", done=False))
    young = drawn(4, "f", "2026-01-01", done=False)
    run, stopped = trained(), trained(done=False, seed=1)
    half, deeper = run.path(".model.partial-1234.safetensors"), run.path("deep") / ".x.partial-1234.json"
    deeper.parent.mkdir()
    half.write_text("half"), deeper.write_text("half")
    age(run), age(stopped)
    (project / "runs" / "empty").mkdir()
    age(Run(project / "runs" / "empty"))
    found = run_listing.rubbish()
    assert names(found) == {old.id, unfinished.id, half.name, deeper.name, "empty"}
    with Claim.take(run.folder):
        assert len(run_listing.clear([one for one in found if one.path in (half, deeper)])[1]) == 2, "the run is in other hands"
    age(run)
    assert "drawn again since" in {one.why for one in found}
    said = call("gc")
    assert said.exit_code == 0 and "5 would go" in said.output and old.folder.exists() and half.exists()
    said = call("gc", "--delete")
    assert said.exit_code == 0, said.output
    kept = {new.id, other.id, young.id, run.id, stopped.id}
    assert {path.name for path in (project / "runs").iterdir()} == kept and run.done
    assert not half.exists() and not deeper.exists()


def test_runs_of_other_versions_go_only_when_asked(project):
    write_notebook(project, TASK, "1", parameters="seed: int = 0")
    before = age(trained())
    write_notebook(project, TASK, "2", parameters="seed: int = 0")
    after = age(trained())
    assert before.id != after.id and run_listing.rubbish() == []
    assert names(run_listing.rubbish(older=True)) == {before.id}
    said = call("gc", "--older", "--delete")
    assert "MB freed" in said.output and not before.folder.exists() and after.done


def test_what_is_claimed_is_never_deleted(project):
    run = age(drawn(1, "f", "2026-01-01", done=False))
    found = run_listing.rubbish()
    assert names(found) == {run.id}
    with Claim.take(run.folder):
        assert run_listing.rubbish() == []
        freed, kept = run_listing.clear(found)  # claimed after it was listed
        assert freed == 0 and "is being worked on by" in kept[0] and run.path("params.json").exists()
    assert run_listing.clear(found)[1] == [] and not run.folder.exists()


def test_a_clearing_that_was_stopped_is_finished(project):
    trash = project / "runs" / ".trash-x-1"
    trash.mkdir(parents=True)
    (trash / "DONE").touch()
    assert [one.why for one in run_listing.rubbish()] == ["left by a clearing that was stopped"] and run_listing.list_runs() == []
    run_listing.clear(run_listing.rubbish())
    assert not Path(trash).exists()
