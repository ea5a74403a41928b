"""The fingertips of a light-hand file end up on the wrists they belong to, whichever block comes first."""

import numpy as np
import pytest

from migstudy.datasets.fingertips import put_fingertips_on_their_wrists
from migstudy.skeletons import get_topology

LIGHT = get_topology("light35")
TIPS = {side: [i for i, n in enumerate(LIGHT.joints) if n.startswith(f"{side}_hand")] for side in ("left", "right")}


def recording(frames=300, seed=0):
    rng = np.random.default_rng(seed)
    keypoints = rng.normal(400, 5, (frames, 35, 2)).astype(np.float32)
    scores = np.ones((frames, 35), np.float32)
    for side, x in (("right", 200), ("left", 600)):
        keypoints[:, [LIGHT.index(f"{side}_wrist"), *TIPS[side]], 0] = x + rng.normal(0, 20, (frames, 6))
    scores[rng.random((frames, 35)) < 0.02] = 0
    keypoints[scores == 0] = 0
    return keypoints, scores


@pytest.mark.parametrize("crossed", [False, True])
def test_the_data_decides(crossed):
    keypoints, scores = recording()
    given, marks = keypoints.copy(), scores.copy()
    if crossed:
        swap = TIPS["right"] + TIPS["left"]
        given[:, TIPS["left"] + TIPS["right"]], marks[:, TIPS["left"] + TIPS["right"]] = given[:, swap], marks[:, swap]
    said = put_fingertips_on_their_wrists(given, marks, LIGHT)
    assert ("belong to the left wrist" if crossed else "belong to the right wrist") in said
    np.testing.assert_array_equal(given, keypoints)
    np.testing.assert_array_equal(marks, scores)


def test_too_few_frames_decide_nothing():
    keypoints, scores = recording(20)
    before = keypoints.copy()
    assert "only" in put_fingertips_on_their_wrists(keypoints, scores, LIGHT)
    np.testing.assert_array_equal(keypoints, before)


def test_a_crossed_release_reads_as_a_straight_one(tmp_path):
    from migstudy.datasets.imigue import read_release
    from migstudy.simulate import simulate

    straight = simulate(tmp_path / "a", profile="smoke", seed=3, workers=1, shape="light_hand")
    first = read_release(straight, cache=tmp_path / "cache", progress=False)
    for file in straight.rglob("*_light_hand.csv"):
        rows = [line.split(",") for line in file.read_text().splitlines()]
        head = 1 + 3 * 25
        crossed = [row[:head] + row[head + 15 :] + row[head : head + 15] for row in rows]
        file.write_text("\n".join(",".join(row) for row in crossed) + "\n")
    second = read_release(straight, cache=tmp_path / "cache", progress=False)
    assert any("belong to the right wrist" in note for note in first.report.notes)
    assert any("belong to the left wrist" in note for note in second.report.notes)
    np.testing.assert_array_equal(first.clips.keypoints, second.clips.keypoints)
