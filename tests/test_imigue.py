"""The release reader: both shapes, every planted fault, protocols, and a cache that never lies."""

import json
import os
import shutil
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import xlsxwriter
from hypothesis import given
from hypothesis import strategies as st
from release import (
    FRAMES,
    ROWS,
    VIDEOS,
    points_of,
    write_labels,
    write_release,
    write_skeleton,
    write_table,
    write_video,
)

from migstudy.clips import ClipSet
from migstudy.datasets import imigue, release_skeletons
from migstudy.datasets.content_cache import content_hashes
from migstudy.datasets.imigue import read_imigue, read_release
from migstudy.datasets.protocols import imigue_protocols
from migstudy.datasets.release_errors import ReleaseError
from migstudy.datasets.release_labels import read_labels, read_video_table


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    """A sound release in each shape, written once."""
    shapes = ("openpose", "light_hand")
    return {shape: write_release(tmp_path_factory.mktemp(shape) / "release", shape) for shape in shapes}


@pytest.fixture
def release(sound, tmp_path):
    """A copy of the sound release to break."""
    return shutil.copytree(sound["openpose"], tmp_path / "release")


@pytest.fixture
def light(sound, tmp_path):
    return shutil.copytree(sound["light_hand"], tmp_path / "light")


@pytest.fixture
def options(tmp_path):
    return {"cache": tmp_path / "cache", "workers": 2, "progress": False}


def folder_of(release, video, split="train"):
    return release / f"imigue_skeleton_{split}" / video


def nothing_half_written(cache):
    assert not [p for p in cache.rglob("*") if "partial" in p.name]
    for entry in (cache / "imigue" / "sets").glob("*"):
        ClipSet.load(entry)


# -- what is read ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape, topology", [("openpose", "openpose137"), ("light_hand", "light35")])
def test_reads_every_clip_exactly(sound, options, shape, topology):
    clips, report = read_release(sound[shape], **options)
    assert clips.topology.name == topology and clips.units == "px" and clips.fps == 25
    assert len(clips) == 18 and set(clips.index["split"]) == {"train", "val", "test"}
    assert report.shape == shape and report.split_by == "folders" and not report.official and report.ok
    for split, videos in VIDEOS.items():
        for video in videos:
            points = points_of(video, shape).astype(np.float32)
            for i, (csv_class, start, end) in enumerate(ROWS):
                clip = clips[f"{video}_{i}"]
                assert np.array_equal(clip.keypoints, points[start : end + 1, :, :2])  # the end belongs to the clip
                assert np.array_equal(clip.scores, points[start : end + 1, :, 2])
                assert clip.label == {1: 0, 99: 31, 31: 30}[csv_class]
                assert (clip.start, clip.end, clip.video) == (start, end, video)
                assert clip.split == {"validate": "val"}.get(split, split) and clip.image_size == (1280, 720)
    assert clips["0504_0"].subject == "4"


def test_whole_videos_carry_the_emotion(sound, options):
    clips = read_imigue(sound["openpose"], unit="video", **options)
    assert list(clips.index["clip_id"]) == ["0501", "0502", "0503", "0504", "0505", "0506"]
    assert clips.class_names == ("lose", "win") and list(clips.labels) == [0, 1, 0, 1, 0, 1]
    assert np.array_equal(clips["0502"].keypoints, points_of("0502")[:, :, :2].astype(np.float32))


def test_without_the_table_clips_are_grouped_by_video(release, options):
    (release / "labels_20200831.csv").unlink()
    clips, report = read_release(release, **options)
    assert set(clips.index["subject"]) == {""} and any("subjects are unknown" in note for note in report.notes)


@pytest.mark.parametrize("names", [
    {"imigue_skeleton_test": "imigue_skeleton_phase2"},
    {"imigue_skeleton_validate": "imigue_skeleton_val", "imigue_skeleton_train": "imigue_skeleton_training"},
    {"imigue_skeleton_train": "phase1/imigue_skeleton_train", "imigue_skeleton_validate": "phase1/validation_data"},
])  # fmt: skip
def test_folder_names_may_vary(sound, release, options, names):
    for old, new in names.items():
        (release / new).parent.mkdir(exist_ok=True)
        (release / old).rename(release / new)
    expected = read_imigue(sound["openpose"], **options).index
    assert read_imigue(release, **options).index.equals(expected)


def test_one_split_folder_can_be_read_alone(release, options):
    clips = read_imigue(release / "imigue_skeleton_train", **options)
    assert set(clips.index["split"]) == {"train"} and len(clips) == 9


def test_other_folders_are_not_mistaken_for_videos(release, options):
    rgb = release / "imigue_rgb_phase1" / "train_data" / "0501"
    rgb.mkdir(parents=True)
    (rgb / "0501.mp4").write_bytes(b"video")
    assert len(read_imigue(release, **options)) == 18


@pytest.mark.parametrize("shape, suffix", [("openpose", "_openpose.xlsx"), ("light_hand", "_light_hand.csv")])
def test_empty_and_nan_cells_are_missing_joints(sound, tmp_path, options, shape, suffix):
    release = shutil.copytree(sound[shape], tmp_path / "release")
    points = points_of("0501", shape)
    points[3, 5, 0] = points[4, 6, 1] = points[5, 7, 2] = np.nan
    points[6, 8, 2] = 0
    points[7] = np.nan
    write_skeleton(folder_of(release, "0501") / f"0501{suffix}", points)
    clips, report = read_release(release, **options)
    clip = clips["0501_0"]
    for frame, joint in ((3, 5), (4, 6), (5, 7), (6, 8), (7, 0), (7, 20)):
        assert clip.scores[frame, joint] == 0 and not clip.keypoints[frame, joint].any()
    assert np.isfinite(clips.keypoints).all() and np.isfinite(clips.scores).all()
    assert (clip.scores == 0).sum() == 4 + points.shape[1]
    assert any(f"{3 + points[7].size:,} empty or NaN cells" in note for note in report.notes)


def test_nan_written_as_text_is_missing_too(light, options):
    path = folder_of(light, "0501") / "0501_light_hand.csv"
    lines = path.read_text().splitlines()
    cells = lines[2].split(",")
    cells[1], cells[5] = "NaN", "-"
    path.write_text("\n".join([*lines[:2], ",".join(cells), *lines[3:]]) + "\n")
    scores = read_imigue(light, **options)["0501_0"].scores
    assert scores[2, 0] == 0 and scores[2, 1] == 0 and (scores == 0).sum() == 2


def test_a_larger_image_is_seen_in_the_coordinates(release, options):
    points = points_of("0501")
    points[..., :2] *= 1.5
    write_skeleton(folder_of(release, "0501") / "0501_openpose.xlsx", points)
    clips, report = read_release(release, **options)
    assert clips["0501_0"].image_size == (1920, 1080) and clips["0502_0"].image_size == (1280, 720)
    assert any("0501: 1920x1080" in note for note in report.notes)


def test_placeholder_test_labels_are_dropped(release, options):
    for video in VIDEOS["test"]:
        write_labels(folder_of(release, video, "test") / f"{video}_label.csv", [(0, s, e) for _, s, e in ROWS])
    clips, report = read_release(release, **options)
    assert set(clips.select(split="test").labels) == {-1} and set(clips.select(split="train").labels) == {0, 30, 31}
    assert any("placeholders" in note for note in report.notes)
    with pytest.raises(ReleaseError, match="class 0 does not exist"):
        read_imigue(release, test_labels="use", **options)


def test_real_test_labels_are_kept_unless_ignored(sound, options):
    assert set(read_imigue(sound["openpose"], **options).select(split="test").labels) == {0, 30, 31}
    hidden = read_imigue(sound["openpose"], test_labels="ignore", **options)
    assert set(hidden.select(split="test").labels) == {-1}


def test_the_source_says_what_a_simulated_folder_is(release, options):
    assert "not the official protocol" in read_imigue(release, **options).source
    (release / "SOURCE.txt").write_text("Simulated by tests. Nobody was recorded.\n")
    (release / "simulation.json").write_text(json.dumps({"config": {"fps": 30}}))
    clips = read_imigue(release, **options)
    assert clips.source.startswith("Simulated by tests (folder release") and clips.fps == 30
    assert read_imigue(release, fps=50, **options).fps == 50


# -- what is refused -------------------------------------------------------------------------------------------------


def _missing_skeleton(r):
    (folder_of(r, "0501") / "0501_openpose.xlsx").unlink()


def _missing_labels(r):
    (folder_of(r, "0501") / "0501_label.csv").unlink()


def _too_few_columns(r):
    write_skeleton(folder_of(r, "0501") / "0501_openpose.xlsx", points_of("0501"), skip_columns=1)


def _rows(*rows):
    return lambda r: write_labels(folder_of(r, "0501") / "0501_label.csv", rows)


def _text_cell(r):
    with xlsxwriter.Workbook(str(folder_of(r, "0501") / "0501_openpose.xlsx")) as book:
        sheet = book.add_worksheet()
        for i, row in enumerate(points_of("0501").reshape(FRAMES, -1).tolist()):
            sheet.write_row(i, 0, row)
        sheet.write_string(6, 28, "oops")


def _empty_file(r):
    (folder_of(r, "0501") / "0501_openpose.xlsx").write_bytes(b"")


def _empty_sheet(r):
    with xlsxwriter.Workbook(str(folder_of(r, "0501") / "0501_openpose.xlsx")) as book:
        book.add_worksheet()


def _no_joint_at_all(r):
    write_skeleton(folder_of(r, "0501") / "0501_openpose.xlsx", np.zeros((FRAMES, 137, 3)))


def _truncated(r):
    path = folder_of(r, "0501") / "0501_openpose.xlsx"
    path.write_bytes(path.read_bytes()[:-400])


def _shared_subject(r):
    write_table(r, {"0501": ("1", "win"), "0502": ("2", "win"), "0503": ("3", "win"), "0504": ("4", "win"),
                    "0505": ("1", "lose"), "0506": ("6", "lose")})  # fmt: skip


def _two_subjects(r):
    path = r / "labels_20200831.csv"
    lines = path.read_text().splitlines()
    path.write_text("\n".join([*lines[:2], lines[2].replace(",1,lose", ",9,lose"), *lines[3:]]))


def _duplicate(r):
    shutil.copytree(folder_of(r, "0501"), folder_of(r, "0501", "test"))


def _unfinished(r):
    (r / "simulation.json.partial").write_text("{}")


def _empty_video_folder(r):
    shutil.rmtree(folder_of(r, "0501"))
    folder_of(r, "0501").mkdir()


SKELETON, LABELS, TABLE = "0501_openpose.xlsx", "0501_label.csv", "labels_20200831.csv"
FAULTS = {
    "missing skeleton": (_missing_skeleton, SKELETON, None, "is missing", "copy the file"),
    "missing labels": (_missing_labels, LABELS, None, "is missing", "copy the file"),
    "empty video folder": (_empty_video_folder, SKELETON, None, "is missing", "delete the folder"),
    "410 columns": (_too_few_columns, SKELETON, 1, "410 columns, expected 411", "export it again"),
    "end before start": (_rows((1, 0, 9), (2, 9, 3)), LABELS, 2, "end 3 is before start 9", "swap"),
    "end beyond": (_rows((1, 0, 9), (2, 9, 24)), LABELS, 2, "end 24 is beyond the last frame, 23", "correct the row"),
    "start beyond": (_rows((1, 0, 9), (2, 24, 30)), LABELS, 2, "start 24 is beyond the last frame, 23", "count from 0"),
    "negative start": (_rows((1, -1, 9)), LABELS, 1, "start -1 is below 0", "count from 0"),
    "class 77": (_rows((1, 0, 9), (3, 1, 2), (77, 0, 9)), LABELS, 3, "class 77 does not exist", "1 to 31 and 99"),
    "no number in a label": (_rows((1, 0, 9), (2, "x", 9)), LABELS, 2, "whole numbers", "correct the row"),
    "two columns in a label": (_rows((1, 0)), LABELS, 1, "whole numbers", "correct the row"),
    "text in a cell": (_text_cell, SKELETON, 7, "cell AC7 holds 'oops'", "leave it empty for a missing joint"),
    "empty file": (_empty_file, SKELETON, None, "has no rows", "copy the file again"),
    "empty sheet": (_empty_sheet, SKELETON, None, "has no rows", "copy the file again"),
    "nothing detected": (_no_joint_at_all, SKELETON, None, "no detected joint", "copy the file again"),
    "truncated zip": (_truncated, SKELETON, None, "no readable xlsx", "download it again"),
    "shared subject": (_shared_subject, TABLE, 14, "subject 1 stands in train (video 0501) and in test", "one split"),
    "two subjects": (_two_subjects, TABLE, 3, "video 0501 has two subjects", "correct the row"),
    "duplicate video": (_duplicate, "0501_openpose.xlsx", None, "stands twice", "delete all but one"),
    "unfinished simulation": (_unfinished, "simulation.json.partial", None, "unfinished", "run it again"),
}  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_gives_one_message_and_leaves_nothing_half_written(release, options, fault):
    plant, file, row, message, fix = FAULTS[fault]
    plant(release)
    with pytest.raises(ReleaseError) as refused:
        read_imigue(release, **options)
    text = str(refused.value)
    assert len(refused.value.problems) == 1 and len(text.splitlines()) == 1
    assert file in text and message in text and fix in text
    assert refused.value.problems[0].row == row and (row is None or f"row {row}:" in text)
    nothing_half_written(options["cache"])
    assert not (options["cache"] / "imigue" / "sets").exists()


WHOLE = {"shared subject", "two subjects", "duplicate video", "unfinished simulation", "end beyond"}


@pytest.mark.parametrize("fault", sorted(set(FAULTS) - WHOLE))
def test_not_strict_leaves_out_the_faulty_video_and_says_so(release, options, fault):
    plant, file, _, message, _ = FAULTS[fault]
    plant(release)
    clips, report = read_release(release, strict=False, **options)
    assert set(clips.index["video"]) == {"0502", "0503", "0504", "0505", "0506"}
    assert len(report.problems) == 1 and file in report.problems[0] and message in report.problems[0] and not report.ok
    assert message in report.text()
    nothing_half_written(options["cache"])


def test_not_strict_cuts_a_clip_that_ends_beyond_its_video(release, options):
    _rows((1, 0, 9), (2, 9, 40))(release)
    clips, report = read_release(release, strict=False, **options)
    assert (clips["0501_1"].end, len(clips["0501_1"])) == (23, 15) and len(clips) == 17
    assert len(report.problems) == 1 and "end 40 is beyond" in report.problems[0]


def test_not_strict_keeps_the_copy_that_cannot_leak_into_training(release, options):
    _duplicate(release)
    clips, report = read_release(release, strict=False, **options)
    assert set(clips.select(video="0501").index["split"]) == {"test"} and len(report.problems) == 1


def test_a_cut_csv_row_is_named(light, options):
    path = folder_of(light, "0502") / "0502_light_hand.csv"
    path.write_text(path.read_text()[:-60])
    with pytest.raises(ReleaseError, match=r"0502_light_hand.csv, row 24: \d+ columns, expected 106"):
        read_imigue(light, **options)


def test_a_csv_without_its_index_column_is_refused(light, options):
    path = folder_of(light, "0502") / "0502_light_hand.csv"
    path.write_text("\n".join(line.split(",", 1)[1] for line in path.read_text().splitlines()) + "\n")
    with pytest.raises(ReleaseError, match=r"0502_light_hand.csv, row 1: 105 columns, expected 106 = an index column"):
        read_imigue(light, **options)


def test_many_faults_come_in_one_message_of_at_most_twenty(release, options):
    write_labels(folder_of(release, "0501") / "0501_label.csv", [(77, 0, 9)] * 30)
    _truncated_other = folder_of(release, "0502") / "0502_openpose.xlsx"
    _truncated_other.write_bytes(b"PK")
    with pytest.raises(ReleaseError) as refused:
        read_imigue(release, **options)
    lines = str(refused.value).splitlines()
    assert len(refused.value.problems) == 31 and lines[0].startswith("31 problems in the release")
    assert len(lines) == 22 and lines[-1] == "... and 11 more" and "0502_openpose.xlsx" in lines[1]


def test_a_mended_release_is_read(release, options):
    _truncated(release)
    with pytest.raises(ReleaseError):
        read_imigue(release, **options)
    write_skeleton(folder_of(release, "0501") / "0501_openpose.xlsx", points_of("0501"))
    assert len(read_imigue(release, **options)) == 18


def test_mixed_shapes_are_refused(release, options):
    shutil.rmtree(folder_of(release, "0501"))
    write_video(release, "train", "0501", "light_hand")
    with pytest.raises(ReleaseError, match="0501_openpose.xlsx: skeleton file is missing; bring every video in one"):
        read_imigue(release, **options)


@pytest.mark.parametrize("path, message", [("nowhere", "is no folder"), ("", "holds no iMiGUE videos")])
def test_a_wrong_folder_is_refused(tmp_path, options, path, message):
    with pytest.raises(ReleaseError, match=message):
        read_imigue(tmp_path / path, **options)


def test_unknown_options_are_refused(sound, options):
    for name in ("unit", "split_by", "shape", "test_labels"):
        with pytest.raises(ValueError, match=f"unknown {name} 'nonsense'"):
            read_imigue(sound["openpose"], **{name: "nonsense"}, **options)


def test_an_empty_skeleton_without_labels_is_skipped(release, options):
    write_video(release, "train", "0510", rows=(), points=np.zeros((0, 137, 3)))
    clips, report = read_release(release, **options)
    assert report.skipped == (("0510", "empty skeleton"),) and len(clips) == 18


# -- protocols -------------------------------------------------------------------------------------------------------


def test_the_published_counts():
    protocols = imigue_protocols()
    challenge, cvpr, emotion = protocols.challenge, protocols.cvpr, protocols.cvpr_emotion
    assert {s: (len(v), challenge.clips(s)) for s, v in challenge.videos.items()} == {
        "train": (241, 12893), "val": (10, 777), "test": (104, 4562)
    }  # fmt: skip
    everything = [video for videos in challenge.videos.values() for video in videos]
    assert len(set(everything)) == len(everything) == 355 and not set(everything) & set(challenge.dropped)
    assert (len(cvpr.train_subjects), len(cvpr.test_subjects)) == (37, 35) and sum(cvpr.clips.values()) == 18499
    assert sorted(map(int, cvpr.train_subjects + cvpr.test_subjects)) == list(range(1, 73))
    assert (len(emotion.train), len(emotion.test)) == (102, 100) and not set(emotion.train) & set(emotion.test)


def test_the_published_counts_fit_the_published_label_lists(recordings_dir):
    with np.load(recordings_dir / "micro_gesture_label_lists.npz", allow_pickle=False) as lists:
        videos = [str(clip_id).split("_")[0] for clip_id in lists["imigue_train_id"]]
    challenge = imigue_protocols().challenge
    assert {v: videos.count(v) for v in set(videos)} == dict(challenge.videos["train"]) | dict(challenge.videos["val"])


OFFICIAL = {"train": ("0314", "0039", "0185", "0232", "0381", "0268"), "test": ("0156", "0440")}


@pytest.fixture
def official(tmp_path):
    """Nine official videos by id and row count, a validation one among training ones; a dropped, an unknown one."""
    root, clips_of = tmp_path / "official", imigue_protocols().challenge.clips_of
    for split, videos in OFFICIAL.items():
        for video in videos:
            write_video(root, split, video, rows=[(i % 31 + 1, 0, 5) for i in range(clips_of(video))])
    write_video(root, "train", "0009", rows=[(29, 0, 5)] * clips_of("0009"))
    write_video(root, "train", "0218", rows=[(1, 0, 5)] * 4, points=np.zeros((0, 137, 3)))
    write_video(root, "train", "9999")
    return root


def test_official_videos_go_where_the_protocol_has_them(official, options):
    clips, report = read_release(official, **options)
    assert report.official and report.split_by == "challenge" and report.moved == (("0009", "train", "val"),)
    assert set(clips.select(split="val").index["video"]) == {"0009"}
    assert dict(report.skipped) == {
        "0218": "the protocol drops it (empty skeleton)", "9999": "the challenge protocol does not list it"
    }  # fmt: skip
    found = {count.quantity: (count.expected, count.found, count.ok) for count in report.counts}
    assert found["val clips"] == (777, 30, False) and found["train videos"] == (241, 6, False)
    assert found["clips of all videos"][0] == 18499
    assert "✗ challenge: 30 val clips, expected 777" in report.text()
    assert "folders" in read_release(official, split_by="folders", strict=False, **options).clips.source


def test_the_same_validation_video_in_two_folders_is_read_once(official, options):
    target = official / "imigue_skeleton_validate" / "0009"
    shutil.copytree(folder_of(official, "0009"), target)
    clips, report = read_release(official, **options)
    assert len(clips.select(video="0009")) == 30 and any("same bytes; read once" in note for note in report.notes)
    write_labels(target / "0009_label.csv", [(29, 0, 6)] * 30)
    with pytest.raises(ReleaseError, match="their files differ"):
        read_imigue(official, **options)


def test_other_published_splits(official, options):
    everyone = {v: str(i) for i, v in enumerate([*OFFICIAL["train"], *OFFICIAL["test"], "0009"], 1)}
    with pytest.raises(ReleaseError, match="gives no subject for video 0009"):
        read_imigue(official, split_by="cvpr", **options)
    write_table(official, {v: (s, "win") for v, s in everyone.items()} | {"9999": ("99", "win")})
    clips, report = read_release(official, split_by="cvpr", **options)
    cvpr = imigue_protocols().cvpr
    assert all(cvpr.split_of(s) == split for s, split in zip(clips.index["subject"], clips.index["split"], strict=True))
    assert ("9999", "the CVPR protocol does not list its subject 99") in report.skipped
    emotion = read_imigue(official, split_by="cvpr_emotion", unit="video", **options)
    assert dict(zip(emotion.index["video"], emotion.index["split"], strict=True)) == {
        **dict.fromkeys(("0314", "0381", "0440"), "train"), **dict.fromkeys(("0009", "0185", "0232", "0268"), "test")
    }  # fmt: skip


# -- the cache -------------------------------------------------------------------------------------------------------


@pytest.fixture
def counted(monkeypatch):
    """Names of the skeleton files that are really opened."""
    opened = []

    def read(path, shape):
        opened.append(path.name)
        return release_skeletons.read_skeleton(path, shape)

    monkeypatch.setattr(imigue, "read_skeleton", read)
    return opened


def age(root, seconds=10):
    """Make files look older than the clock's step, so that the cache trusts their times."""
    for path in root.rglob("*.*"):
        if path.is_file():
            old = path.stat().st_mtime_ns - int(seconds * 1e9)
            os.utime(path, ns=(old, old))


def test_the_second_reading_opens_no_skeleton_file(release, options, counted):
    first = read_imigue(release, **options)
    assert len(counted) == 6
    second, report = read_release(release, **options)
    assert len(counted) == 6 and second.fingerprint == first.fingerprint and second.index.equals(first.index)
    assert isinstance(second.keypoints, np.memmap) and report == read_release(release, **options).report


def test_an_unchanged_file_is_not_even_hashed_again(release, options, monkeypatch):
    age(release)
    read_imigue(release, **options)
    monkeypatch.setattr("migstudy.datasets.content_cache._digest", lambda file: pytest.fail(f"opened {file}"))
    assert len(read_imigue(release, **options)) == 18


def test_a_changed_file_is_read_again_and_only_that(release, options, counted):
    before = read_imigue(release, **options)
    write_skeleton(folder_of(release, "0502") / "0502_openpose.xlsx", points_of("0777"))
    after = read_imigue(release, **options)
    assert counted[6:] == ["0502_openpose.xlsx"] and after.fingerprint != before.fingerprint
    assert np.array_equal(after["0502_0"].keypoints, points_of("0777")[:10, :, :2].astype(np.float32))


def test_a_change_within_the_clocks_step_is_seen(tmp_path):
    file = tmp_path / "a"
    file.write_text("one")
    stat = file.stat()
    first = content_hashes([file], tmp_path, tmp_path / "cache", 1)
    file.write_text("two")
    os.utime(file, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert content_hashes([file], tmp_path, tmp_path / "cache", 1) != first


@pytest.mark.parametrize("victim", ["keypoints.npy", "scores.npy", "index.parquet", "clipset.json", "report.json"])
@pytest.mark.parametrize("damage", ["cut", "gone"])
def test_a_damaged_set_is_built_again(release, options, counted, victim, damage):
    first = read_imigue(release, **options)
    (entry,) = (options["cache"] / "imigue" / "sets").iterdir()
    expected, data = first.fingerprint, (entry / victim).read_bytes()
    del first
    (entry / victim).unlink()
    if damage == "cut":
        (entry / victim).write_bytes(data[: len(data) // 2])
    again = read_imigue(release, **options)
    assert again.fingerprint == expected and len(counted) == 6  # the videos' own entries were sound
    nothing_half_written(options["cache"])


def test_a_damaged_video_entry_is_read_again(release, options, counted):
    first = read_imigue(release, **options)
    shutil.rmtree(options["cache"] / "imigue" / "sets")
    entries = sorted((options["cache"] / "imigue" / "videos").iterdir())
    data = bytearray(entries[0].read_bytes())
    data[5000] ^= 1  # one bit of the coordinates
    entries[0].write_bytes(data)
    entries[1].write_bytes(b"")
    again = read_imigue(release, **options)
    assert again.fingerprint == first.fingerprint and len(counted) == 8
    assert np.array_equal(again.keypoints, first.keypoints)
    shutil.rmtree(options["cache"] / "imigue" / "sets")
    read_imigue(release, **options)
    assert len(counted) == 8  # both entries were mended


def test_options_have_entries_of_their_own(sound, options):
    by_clip, by_video = (read_imigue(sound["openpose"], unit=unit, **options) for unit in ("clip", "video"))
    assert len(by_clip) == 18 and len(by_video) == 6
    assert len(list((options["cache"] / "imigue" / "sets").iterdir())) == 2


def test_any_number_of_workers_reads_the_same(sound, tmp_path):
    sets = [read_imigue(sound["openpose"], workers=n, cache=tmp_path / str(n), progress=False) for n in (1, 2)]
    assert sets[0].fingerprint == sets[1].fingerprint


def test_an_interrupted_reading_leaves_nothing(release, options, monkeypatch):
    def interrupted(self, folder):
        raise KeyboardInterrupt

    monkeypatch.setattr(ClipSet, "save", interrupted)
    with pytest.raises(KeyboardInterrupt):
        read_imigue(release, **options)
    nothing_half_written(options["cache"])
    monkeypatch.undo()
    assert len(read_imigue(release, **options)) == 18


def test_readers_that_start_together_read_once(release, options, counted):
    with ThreadPoolExecutor(3) as pool:
        sets = list(pool.map(lambda _: read_imigue(release, **options), range(3)))
    assert len(counted) == 6 and len({clips.fingerprint for clips in sets}) == 1
    nothing_half_written(options["cache"])


def test_the_environment_names_the_cache(sound, tmp_path, monkeypatch):
    monkeypatch.setenv("MIGSTUDY_CACHE", str(tmp_path / "elsewhere"))
    read_imigue(sound["openpose"], progress=False)
    assert (tmp_path / "elsewhere" / "imigue" / "sets").is_dir()


# -- single files ----------------------------------------------------------------------------------------------------


@given(st.integers(0, 16383))
def test_columns_are_named_as_a_spreadsheet_names_them(column):
    from xlsxwriter.utility import xl_col_to_name

    assert release_skeletons._column_name(column) == xl_col_to_name(column)


@given(st.lists(st.tuples(st.integers(-5, 120), st.integers(0, 500), st.integers(0, 500)), max_size=20))
def test_label_rows_survive_writing(tmp_path_factory, rows):
    path = tmp_path_factory.mktemp("labels") / "x_label.csv"
    write_labels(path, rows)
    sound = all(start <= end for _, start, end in rows)
    if sound:
        assert [row[1:] for row in read_labels(path)] == rows
    else:
        with pytest.raises(ReleaseError) as refused:
            read_labels(path)
        assert [p.row for p in refused.value.problems] == [i for i, (_, s, e) in enumerate(rows, 1) if e < s]


def test_label_files_may_have_a_header_blank_lines_and_decimals(tmp_path):
    path = tmp_path / "x_label.csv"
    path.write_text("\ufeffclass,start,end\r\n99.0, 3 ,4.0\r\n\r\n1,5,6\r\n", encoding="utf-8")
    assert [row[1:] for row in read_labels(path)] == [(99, 3, 4), (1, 5, 6)]


def test_the_video_table_knows_many_spellings(tmp_path):
    path = tmp_path / "labels_20200831.csv"
    head = "video_id, class, start_frame, end_frame, subject_id, win_or_lose"
    path.write_text(f"{head}\n7,1,0,1,12.0,Win\n0008,1,0,1,3,0\n")
    assert read_video_table(path) == {"0007": ("12", 1, 2), "0008": ("3", 0, 3)}
    path.write_text("video_id,class\n7,1\n")
    with pytest.raises(ReleaseError, match="has no column 'subject_id'"):
        read_video_table(path)
    path.write_text("video_id,subject_id,win_or_lose\n7,1,win\n8,2,draw\n")
    with pytest.raises(ReleaseError, match="row 3: win_or_lose is 'draw'"):
        read_video_table(path)
