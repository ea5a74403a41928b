"""Which five fingertips of a `_light_hand.csv` hang on which wrist: the release contradicts itself, so the data decides."""

from __future__ import annotations

import numpy as np

from migstudy.topology import Topology

_ENOUGH = 100  # sure frames below which the data decides nothing
_CHUNK = 20_000  # frames at a time


def put_fingertips_on_their_wrists(keypoints: np.ndarray, scores: np.ndarray, topology: Topology) -> str:
    """Exchange the two blocks of fingertips, in place, when each lies nearer to the other wrist; says what was found.

    keypoints (T, V, 2), scores (T, V), of all clips end to end. The mean distance from each block to each wrist is taken
    over the frames in which all four are present. Our reconstruction: the starter kit names the blocks both ways.
    """
    tips = {side: [i for i, name in enumerate(topology.joints) if name.startswith(f"{side}_hand")] for side in ("left", "right")}
    wrists = {side: topology.index(f"{side}_wrist") for side in tips}
    needed, own, other, frames = [*tips["left"], *tips["right"], *wrists.values()], 0.0, 0.0, 0
    for start in range(0, len(keypoints), _CHUNK):
        points = keypoints[start : start + _CHUNK][(scores[start : start + _CHUNK, needed] > 0).all(1)]
        centre = {side: points[:, tips[side]].mean(1) for side in tips}
        distance = {(a, b): np.linalg.norm(centre[a] - points[:, wrists[b]], axis=-1).sum() for a in tips for b in tips}
        own += float(distance["left", "left"] + distance["right", "right"])
        other += float(distance["left", "right"] + distance["right", "left"])
        frames += len(points)
    if frames < _ENOUGH:
        return f"fingertips: only {frames} frames show both hands and wrists; the first five are taken for the right hand's"
    near, far = sorted((own / (2 * frames), other / (2 * frames)))
    found = f"{near:.0f} px from that wrist on average, {far:.0f} px from the other"
    if own <= other:
        return f"fingertips: the first five belong to the right wrist ({found})"
    for start in range(0, len(keypoints), _CHUNK):
        for array in (keypoints, scores):
            part = array[start : start + _CHUNK]
            part[:, tips["left"] + tips["right"]] = part[:, tips["right"] + tips["left"]]
    return f"fingertips: the first five belong to the left wrist ({found}); put under the left hand's names"
