"""The data doctor finds what was planted, measures how much of it, and is silent on sound data."""

import json
from dataclasses import replace

import numpy as np
import pytest
from release import write_release

from migstudy.clips import Clip, ClipSet
from migstudy.datasets import open_dataset, open_with_report
from migstudy.datasets.protocols import imigue_protocols
from migstudy.doctor import pose_quality
from migstudy.doctor.examine import SEVERITIES, examine
from migstudy.skeletons import get_topology

T, V = 40, 137
WIDTH = 200.0  # shoulder width, px
OP = get_topology("openpose137")
LEFT_WRIST, RIGHT_WRIST = OP.index("left_wrist"), OP.index("right_wrist")


def person(seed, frames=T):
    """A person who faces the camera and moves smoothly: (frames, 137, 2) px, scores 0.8."""
    rng = np.random.default_rng(seed)
    place = np.zeros((V, 2))
    for j, name in enumerate(OP.joints):  # the person's left is the image's right
        side = 1 if name.startswith("left") else -1 if name.startswith("right") else 0
        place[j] = 640 + side * WIDTH / 2, 300 + 20 * (j % 7)
    for part, wrist in (("left_hand", LEFT_WRIST), ("right_hand", RIGHT_WRIST)):
        place[list(OP.parts[part])] = place[wrist] + rng.uniform(-15, 15, (21, 2))
    for eye in ("eye", "ear"):
        for side, x in (("left", 30), ("right", -30)):
            place[OP.index(f"{side}_{eye}")] = 640 + x, 200
    time = np.arange(frames)[:, None, None] / 25
    phase = rng.uniform(0, 6, (1, V, 2))
    return (place + 8 * np.sin(1.5 * time + phase)).astype(np.float32), np.full((frames, V), 0.8, np.float32)


def clipset(n=12, change=None, source="made by tests"):
    """Sound clips of 6 people in three splits, each changed by `change(i, points, scores)`."""
    clips = []
    for i in range(n):
        points, scores = person(i)
        if change:
            change(i, points, scores)
        points[scores == 0] = 0
        split = ("train", "val", "test")[i * 3 // n]
        clips.append(Clip(f"{i:04d}_0", points, scores, i % 2, f"{i:04d}", str(i // 2), split, 0, T - 1, (1280, 720)))
    return ClipSet.from_clips(clips, OP, ("a", "b"), 25, source)


def finding(report, check):
    return next(f for f in report.findings if f.check == check)


def test_sound_data_has_nothing_to_report():
    report = examine(clipset(72))
    assert {f.severity for f in report.findings} == {"ok"} and report.severity == "ok"
    assert report.jump_rate == report.swap_rate == report.outside_rate == 0 and not report.crossed
    assert (report.clips, report.frames, report.videos, report.subjects) == (72, 72 * T, 72, 36)
    assert (report.missing_by_part["rate"] == 0).all() and report.overlaps.empty and report.protocol.empty
    assert list(report.sides["rate"]) == [1, 1, 1] and list(report.sides["joint"]) == ["shoulder", "eye", "ear"]
    assert all(not f.action for f in report.findings)


def test_missing_joints_are_counted_by_part_and_split():
    def lose(i, points, scores):
        scores[:30, list(OP.parts["left_hand"])] = 0
        scores[:10, list(OP.parts["lips"])[:10]] = 0

    report = examine(clipset(change=lose))
    rate = report.missing_by_part.set_index(["split", "part"])["rate"]
    for split in ("train", "val", "test"):
        assert rate[split, "left_hand"] == pytest.approx(0.75) and rate[split, "lips"] == pytest.approx(0.125)
        assert rate[split, "right_hand"] == 0
    assert finding(report, "missing joints").severity == "warn"
    assert "left_hand 75%" in finding(report, "missing joints").message
    joints = report.joints.set_index("joint")
    assert joints["missing"]["left_hand_root"] == pytest.approx(0.75) and joints["missing"]["nose"] == 0


@pytest.mark.parametrize("share, severity", [(1.0, "error"), (0.5, "warn"), (0.0, "ok")])
def test_frozen_joints(share, severity):
    nose, mouth = OP.index("nose"), OP.index("face_62")

    def freeze(i, points, scores):
        if i < share * 12:
            points[:, nose] = 600, 210
        scores[3, mouth] = 0  # a joint that is missing once was not frozen, even if it stands still
        points[:, mouth] = 640, 240

    report = examine(clipset(change=freeze))
    rate = report.joints.set_index("joint")["frozen"]
    assert rate["nose"] == pytest.approx(share) and rate["face_62"] == 0 and rate["neck"] == 0
    assert finding(report, "frozen joints").severity == severity


def test_jumps_are_outlying_steps_of_sure_joints():
    wrist, eye, toe = LEFT_WRIST, OP.index("left_eye"), OP.index("left_big_toe")

    def jump(i, points, scores):
        points[10, wrist] += 1.5 * WIDTH  # there and back: two steps
        points[20:, eye] += WIDTH  # one step
        points[30, toe] += 3 * WIDTH
        scores[30, toe] = 0.05  # nobody trusts it

    report = examine(clipset(change=jump))
    rates = report.joints.set_index("joint")["jump"]
    assert rates["left_wrist"] == pytest.approx(2 / 39) and rates["left_eye"] == pytest.approx(1 / 39)
    assert rates["left_big_toe"] == 0 and rates.sum() == pytest.approx(3 / 39)
    assert report.jump_rate == pytest.approx(3 / 39) and finding(report, "jumps").severity == "warn"
    assert "left_wrist 5.1%" in finding(report, "jumps").message


def test_a_fast_but_steady_joint_does_not_jump():
    def wave(i, points, scores):
        points[:, LEFT_WRIST, 0] += WIDTH * 0.8 * (np.arange(T) % 2)  # 20 widths a second all the time

    assert examine(clipset(change=wave)).jump_rate == 0


def test_swapped_frames_are_counted_exactly():
    arms = [j for j in OP.parts["body"] if OP.mirror[j] != j]

    def swap(i, points, scores):
        if i % 3 == 0:
            points[12:18, arms] = points[12:18][:, [OP.mirror[j] for j in arms]]
        if i == 4:  # the larger part is taken for right
            points[5:, arms] = points[5:][:, [OP.mirror[j] for j in arms]]

    report = examine(clipset(change=swap))
    assert report.swap_rate == pytest.approx((4 * 6 + 5) / (12 * T))
    assert finding(report, "left/right swaps").severity == "warn"
    assert report.by_split.set_index("split")["swap"]["test"] == pytest.approx(6 / (4 * T))


def test_hands_crossing_smoothly_are_no_swap():
    def cross(i, points, scores):
        share = np.linspace(0, 1, T)[:, None]
        a, b = points[:, LEFT_WRIST].copy(), points[:, RIGHT_WRIST].copy()
        points[:, LEFT_WRIST], points[:, RIGHT_WRIST] = a + share * (b - a), b + share * (a - b)

    assert examine(clipset(change=cross)).swap_rate == 0


def test_hands_on_the_other_wrist_are_seen():
    def cross(i, points, scores):
        left, right = list(OP.parts["left_hand"]), list(OP.parts["right_hand"])
        points[:, left + right] = points[:, right + left]

    for topology in ("openpose137", "light35", "imigue22", "imigue41"):
        sound, crossed = (examine(clipset(change=c).to_topology(topology)) for c in (None, cross))
        assert not sound.crossed and crossed.crossed
        assert finding(sound, "hands and wrists").severity == "ok"
        assert finding(crossed, "hands and wrists").severity == "error"
        apart = crossed.hands.set_index(["hand", "wrist"])["distance"]
        assert apart["left", "left"] == pytest.approx(1, abs=0.15) and apart["left", "right"] < 0.15


def test_both_hands_on_one_wrist_are_seen():
    def copy(i, points, scores):
        points[:, list(OP.parts["left_hand"])] = points[:, list(OP.parts["right_hand"])]

    report = examine(clipset(change=copy))
    assert not report.crossed and finding(report, "hands and wrists").severity == "warn"


def test_sides_named_the_wrong_way_round_are_seen():
    def mirrored(i, points, scores):
        points[..., 0] = 1280 - points[..., 0]

    def eyes(i, points, scores):
        pair = [OP.index("left_eye"), OP.index("right_eye")]
        points[:, pair] = points[:, pair[::-1]]

    assert finding(examine(clipset(change=mirrored)), "sides").severity == "warn"
    wrong = finding(examine(clipset(change=eyes)), "sides")
    assert wrong.severity == "error" and "eyes 0%" in wrong.message


def test_joints_beyond_the_image_are_seen():
    def shift(i, points, scores):
        points[:20, :, 1] += 800

    report = examine(clipset(change=shift))
    assert report.outside_rate == pytest.approx(0.5) and finding(report, "image").severity == "warn"


def test_clips_without_any_joint_are_named():
    def nothing(i, points, scores):
        if i == 7:
            scores[:] = 0

    found = finding(examine(clipset(change=nothing)), "empty clips")
    assert found.severity == "error" and "0007_0" in found.message


def test_overlaps_between_splits_are_found():
    clips = clipset()
    index = clips.index.copy()
    index.loc[11, ["video", "subject"]] = index.loc[0, ["video", "subject"]].to_list()
    index.loc[5, "offset"] = index.loc[0, "offset"]  # clip 5 (val) now holds clip 0's frames
    report = examine(replace(clips, index=index))
    table = report.overlaps.set_index("kind")
    assert table.loc["video", "id"] == "0000" and table.loc["video", "splits"] == "train and test"
    assert table.loc["subject", "id"] == "0" and table.loc["identical clip", "id"] == "0000_0"
    assert finding(report, "video overlap").severity == finding(report, "clip copies").severity == "error"
    assert finding(report, "subject overlap").severity == "warn"


def test_classes_without_or_with_few_training_clips_are_named():
    clips = clipset()
    index = clips.index.assign(label=[0] * 8 + [1, 1, 1, -1])
    report = examine(replace(clips, index=index, class_names=("a", "b", "c")))
    table = report.class_histogram.set_index(["split", "label"])["clips"]
    assert len(table) == 12 and table["train", 0] == 4 and table["train", 2] == 0 and table["test", 1] == 3
    assert table["test", -1] == 1 and table["train", -1] == 0
    messages = [f.message for f in report.findings if f.check in ("classes", "labels")]
    assert messages[0].endswith("no training clip: b") and messages[1].endswith("training clips: a")
    assert "2 of 3 classes occur" in messages[2] and messages[3] == "no label: 1 clips of test"


def test_chunks_do_not_change_the_result(monkeypatch):
    def spoil(i, points, scores):
        rng = np.random.default_rng(i)
        scores[rng.uniform(size=scores.shape) < 0.2] = 0
        points[rng.integers(T), rng.integers(V)] += 900

    clips = clipset(change=spoil)
    whole = json.dumps(examine(clips).to_dict())
    for frames in (1, 100):
        monkeypatch.setattr(pose_quality, "CHUNK_FRAMES", frames)
        small = examine(clips).to_dict()
        for key, value in json.loads(whole).items():
            if key == "hands":  # sums in another order
                assert [r["distance"] for r in small[key]] == pytest.approx([r["distance"] for r in value])
            elif key != "findings":
                assert json.loads(json.dumps(small[key])) == value


def test_the_report_is_plain_data_and_readable_text():
    report = examine(clipset())
    assert json.loads(json.dumps(report.to_dict()))["clips"] == 12
    text = report.text()
    assert text.startswith("made by tests\n12 clips") and "left_hand" in text and max(map(len, text.splitlines())) < 400
    assert all(f.severity in SEVERITIES for f in report.findings)


def test_a_release_is_judged_with_the_readers_account(tmp_path):
    root = write_release(tmp_path / "release", "light_hand")
    (root / "imigue_skeleton_train" / "0501" / "0501_label.csv").write_text("77,0,9\n")
    clips, account = open_with_report(root, strict=False, progress=False, cache=tmp_path / "cache")
    report = examine(clips, account)
    assert finding(report, "reading").severity == "error" and "class 77" in finding(report, "reading").message
    assert "not the official" in finding(report, "protocol").message and "fps" not in report.text()


def test_official_counts_are_compared_even_without_an_account():
    rows = {"0314": 3, "0039": 4, "0185": 4, "0232": 4, "0381": 4, "0268": 5}
    assert all(imigue_protocols().challenge.clips_of(v) == n for v, n in rows.items())
    points, scores = person(0, 5)
    clips = [Clip(f"{v}_{i}", points, scores, 0, v, "", "train") for v, n in rows.items() for i in range(n)]
    report = examine(ClipSet.from_clips(clips, OP, ("a",), 25, "six official videos"))
    table = report.protocol.set_index("quantity")
    assert table.loc["train videos", ["expected", "found", "ok"]].to_list() == [241, 6, False]
    assert finding(report, "protocol").severity == "warn"


def test_an_empty_set_is_refused():
    clips = clipset()
    with pytest.raises(ValueError, match="no clips to examine"):
        examine(clips.select(split="nowhere"))


@pytest.mark.parametrize("name", ["natops", "nw_ucla", "dbcsp_ar_openpose25"])
def test_real_recordings(recordings_dir, name):
    report = examine(open_dataset(recordings_dir / f"{name}.npz"))
    assert report.swap_rate < 0.01 and not report.crossed
    if name == "nw_ucla":  # the file itself repeats view 2 as view 3 in 95 clips
        assert (report.overlaps["kind"] == "identical clip").sum() == 95
        assert len(report.hands) == 4 and set(report.overlaps["kind"]) == {"subject", "identical clip"}
    if name == "dbcsp_ar_openpose25":
        assert finding(report, "sides").severity == "ok"
