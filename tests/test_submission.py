import csv
import io
import zipfile

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from migstudy.scores import make_scores
from migstudy.submission import FORMATS, challenge_ids, validate_submission, write_submission

IDS = ["0054_0", "0054_1", "0067_0"]


def scores(ids=IDS, seed=0):
    rng = np.random.default_rng(seed)
    index = pd.DataFrame({"clip_id": ids, "video": [i[:4] for i in ids], "subject": "", "split": "test", "label": -1})
    return make_scores(index, rng.dirichlet(np.ones(32), len(ids)))


def zipped(path, text, member="prediction.csv"):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(member, text)
    return path


def content(path):
    with zipfile.ZipFile(path) as archive:
        (name,) = archive.namelist()
        return name, archive.read(name).decode()


def test_the_challenge_has_4562_test_clips():
    ids = challenge_ids()
    assert len(ids) == len(set(ids)) == 4562 and ids[:2] == ["0054_0", "0054_1"]
    assert len({i.split("_")[0] for i in ids}) == 104
    assert [len(challenge_ids(s)) for s in ("train", "val")] == [12893, 777]
    assert not set(ids) & set(challenge_ids("val"))


def test_ids_are_those_of_the_published_lists(recordings_dir):
    with np.load(recordings_dir / "micro_gesture_label_lists.npz", allow_pickle=False) as f:
        assert set(challenge_ids("val")) == set(f["imigue_val_id"].tolist())
        assert set(challenge_ids("train") + challenge_ids("val")) == set(f["imigue_train_id"].tolist())


@pytest.mark.parametrize("year", [2023, 2025])
def test_a_full_submission_is_valid_and_reproducible(tmp_path, year):
    table = scores(challenge_ids())
    path = write_submission(table, tmp_path / "a" / "submission.zip", year)
    assert validate_submission(path, year) == []
    name, text = content(path)
    rows = list(csv.reader(io.StringIO(text)))
    assert name == FORMATS[year].member and (rows.pop(0) == ["Id", "Target"] if year == 2025 else True)
    assert [r[0] for r in rows] == challenge_ids()
    expected = table.filter(regex=r"p\d+").to_numpy().argmax(1)
    assert [int(r[1]) for r in rows] == expected.tolist()
    shuffled = write_submission(table.sample(frac=1, random_state=1), tmp_path / "b.zip", year)
    assert shuffled.read_bytes() == path.read_bytes()


def test_the_2023_rows_look_as_published(tmp_path):
    table = scores(["0054_0"])
    table.loc[0, [c for c in table.columns if c[0] == "p" and c[1:].isdigit()]] = np.eye(32, dtype=np.float32)[30]
    assert content(write_submission(table, tmp_path / "s.zip", 2023, ["0054_0"])) == ("Submission.csv", "0054_0,30\n")


def test_missing_and_unknown_clips_are_named_and_nothing_is_written(tmp_path):
    with pytest.raises(ValueError, match=r"1 ids missing: 0067_0; 1 ids unknown: 9999_0; score every test clip"):
        write_submission(scores(["0054_0", "0054_1", "9999_0"]), tmp_path / "s.zip", expected_ids=IDS)
    with pytest.raises(ValueError, match=r"4,559 ids missing: 0054_2, .* and 4,554 more"):
        write_submission(scores(), tmp_path / "s.zip")
    assert not list(tmp_path.iterdir())
    with pytest.raises(ValueError, match="no submission format of 2024"):
        write_submission(scores(), tmp_path / "s.zip", 2024)


GOOD = "Id,Target\n0054_0,3\n0054_1,31\n0067_0,0\n"


@pytest.mark.parametrize(
    "text, problems",
    [
        (GOOD, []),
        (GOOD.replace("\n", "\r\n"), []),
        ("Id,Target\n0067_0,0\n0054_0,3\n0054_1,31\n", []),
        (GOOD.replace("Id,Target\n", ""), ["the first row is not Id,Target"]),
        (GOOD.replace("Id", "id"), ["the first row is not Id,Target"]),
        (GOOD.replace(",31", ",32"), ["rows 3 (0054_1: '32') have no class 0..31"]),
        (GOOD.replace(",3\n", ",3.0\n"), ["rows 2 (0054_0: '3.0') have no class 0..31"]),
        (GOOD.replace(",3\n", ",-1\n"), ["rows 2 (0054_0: '-1') have no class 0..31"]),
        (GOOD.replace(",3\n", ",\n"), ["rows 2 (0054_0: '') have no class 0..31"]),
        (GOOD.replace("0054_1", "0054_0"), ["1 ids missing: 0054_1", "1 ids given more than once: 0054_0"]),
        (GOOD.replace("0067_0", "0067_00"), ["1 ids missing: 0067_0", "1 ids unknown: 0067_00"]),
        (GOOD.replace("0054_1,31", "0054_1,31,0.9"), ["rows 3 do not have two columns", "1 ids missing: 0054_1"]),
        ("", ["the first row is not Id,Target", "3 ids missing: 0054_0, 0054_1, 0067_0"]),
        ("\ufeff" + GOOD, ["it begins with a byte-order mark, which becomes part of the first id; save as plain UTF-8"]),
    ],
)
def test_every_fault_is_named(tmp_path, text, problems):
    assert validate_submission(zipped(tmp_path / "s.zip", text), 2025, IDS) == problems


def test_a_header_in_a_2023_file_is_named(tmp_path):
    path = zipped(tmp_path / "s.zip", GOOD, "Submission.csv")
    assert validate_submission(path, 2023, IDS) == ["the first row is a header; Submission.csv has none"]


def test_wrong_containers(tmp_path):
    assert validate_submission(tmp_path / "no.zip") == ["no.zip does not exist"]
    (tmp_path / "plain.zip").write_text(GOOD)
    assert "not a readable zip" in validate_submission(tmp_path / "plain.zip")[0]
    assert "holds prediction.csv alone" in validate_submission(zipped(tmp_path / "f.zip", GOOD, "out/prediction.csv"))[0]
    assert "holds Submission.csv alone" in validate_submission(zipped(tmp_path / "y.zip", GOOD), 2023)[0]
    assert "that is no submission" in validate_submission(zipped(tmp_path / "big.zip", "0" * (17 * 2**20)))[0]
    with zipfile.ZipFile(tmp_path / "latin.zip", "w") as archive:
        archive.writestr("prediction.csv", b"Id,Target\n\xff\n")
    assert "UTF-8" in validate_submission(tmp_path / "latin.zip")[0]


def test_a_truncated_zip_is_refused(tmp_path):
    path = write_submission(scores(), tmp_path / "s.zip", expected_ids=IDS)
    path.write_bytes(path.read_bytes()[:-10])
    assert "not a readable zip" in validate_submission(path, 2025, IDS)[0]


@settings(deadline=None, max_examples=40)
@given(st.lists(st.tuples(st.sampled_from([*IDS, "0001_0"]), st.integers(-2, 34)), max_size=6))
def test_valid_exactly_when_every_id_has_one_class(tmp_path_factory, rows):
    text = "Id,Target\n" + "".join(f"{clip},{target}\n" for clip, target in rows)
    path = zipped(tmp_path_factory.mktemp("s") / "s.zip", text)
    good = sorted(clip for clip, _ in rows) == IDS and all(0 <= target <= 31 for _, target in rows)
    assert (validate_submission(path, 2025, IDS) == []) == good
