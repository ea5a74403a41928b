"""Light classifiers that need no network: nearest mean pose, linear discriminants of motion, win or lose from a video.

They say how hard data are by themselves. Features are ours; everything is in shoulder widths and seconds, so that a
person's size, place in the image and the frame rate drop out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

import numpy as np

from migstudy.clips import ClipSet
from migstudy.robustness.shoulder_frame import Posed, filled_in, mean_speed, pose_clips, ratio, right_moves_more
from migstudy.scores import make_scores

if TYPE_CHECKING:
    import pandas as pd

_PLACES = ("nose", "neck", "left_ear", "right_ear", "face_8", "face_51", "left_elbow", "right_elbow", "left_shoulder",
           "right_shoulder")  # fmt: skip
_FACE = {name: f"face_{number}" for name, number in {
    "chin": 8, "right_brow": 19, "right_inner_brow": 21, "left_inner_brow": 22, "left_brow": 24, "right_eye_out": 36,
    "right_lid_up": 37, "right_lid_low": 41, "left_lid_up": 44, "left_lid_low": 46, "left_eye_out": 45, "nose_tip": 30,
    "right_corner": 48, "left_corner": 54, "lip_top": 51, "lip_low": 57, "inner_top": 62, "inner_low": 66,
}.items()}  # fmt: skip


def mean_pose(clips: ClipSet) -> np.ndarray:
    """(N, 2 V) mean position of every joint, in shoulder widths about the mid of the shoulders; always finite.

    A joint that a clip never shows is put where the next joint towards the body's center is. Raises ValueError for 3D
    clips and skeletons without shoulders.
    """
    posed = pose_clips(clips)
    mean = filled_in(posed.mean(posed.points, posed.seen), posed.topology)
    return mean.reshape(len(clips), -1)


def motion_features(clips: ClipSet) -> np.ndarray:
    """(N, F) what a clip shows, whichever side shows it: pose, movement and touch, finite whatever is missing.

    Of every joint the mean position, its spread, how far it goes between the ends and the middle of the clip (shoulder
    widths), speed (a second) and path; of both hands the mean distance from face, neck, shoulders, elbows and each other in the
    clip's middle; the share of frames that shows each part; the duration. A clip whose left hand moves more than its right
    is mirrored first. Raises ValueError as `mean_pose`.
    """
    posed = right_moves_more(pose_clips(clips))
    points, seen, n = posed.points, posed.seen, len(clips)
    inside = (np.arange(len(points)) - np.repeat(posed.first, posed.length) + 0.5) / np.repeat(posed.length, posed.length)
    middle = np.sin(np.pi * inside)[:, None] ** 2
    mean = posed.mean(points, seen)
    spread = np.sqrt(posed.mean((points - np.repeat(mean, posed.length, axis=0)) ** 2, seen))
    swing = posed.mean(points, seen * middle) - posed.mean(points, seen * (1 - middle))
    speed, seconds = mean_speed(posed), posed.length[:, None] / posed.fps
    parts = [posed.total(seen[:, list(joints)].mean(1)) / posed.length for joints in posed.topology.parts.values()]
    blocks = [
        filled_in(mean, posed.topology), spread, swing, speed, np.log1p(speed * seconds), _touch(posed, middle),
        np.stack(parts, axis=1), np.log(seconds),
    ]  # fmt: skip
    return np.concatenate([np.nan_to_num(block).reshape(n, -1) for block in blocks], axis=1)


class _Baseline:
    """fit(clips) and predict_scores(clips) -> score table; a class that training does not show gets probability 0."""

    def fit(self, clips: ClipSet) -> Self:
        """Learn from the labelled clips; raises ValueError when there are none."""
        known = clips.labels >= 0
        if not known.any():
            raise ValueError(f"{clips.source}: no clip has a label to learn from")
        self.class_names = clips.class_names
        self._fit(self._features(clips)[known], clips.labels[known])
        return self

    def predict_scores(self, clips: ClipSet) -> pd.DataFrame:
        """The house's score table; raises ValueError before `fit` or for clips of other classes."""
        if clips.class_names != getattr(self, "class_names", None):
            raise ValueError(f"{clips.source}: {type(self).__name__} was not fitted on clips with these class names")
        seen, shares = self._predict(self._features(clips))
        probabilities = np.zeros((len(clips), len(clips.class_names)))
        probabilities[:, seen] = shares
        return make_scores(clips.index, probabilities, clips.class_names)


class MeanPose(_Baseline):
    """Nearest centroid of `mean_pose`: what a class can be told by without looking at motion."""

    _features = staticmethod(mean_pose)

    def _fit(self, features: np.ndarray, labels: np.ndarray) -> None:
        self.classes = np.unique(labels)
        self.centroids = np.stack([features[labels == c].mean(0) for c in self.classes])
        own = features - self.centroids[np.searchsorted(self.classes, labels)]
        self.scale = max(float((own**2).mean()), 1e-12)

    def _predict(self, features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        distance = ((features[:, None] - self.centroids) ** 2).mean(-1) / self.scale
        shares = np.exp(-0.5 * (distance - distance.min(1, keepdims=True)))
        return self.classes, shares / shares.sum(1, keepdims=True)


class MotionLDA(_Baseline):
    """Linear discriminants of `motion_features`, covariance shrunk after Ledoit and Wolf (2004), classes as frequent as seen."""

    _features = staticmethod(motion_features)

    def _fit(self, features: np.ndarray, labels: np.ndarray) -> None:
        from sklearn.covariance import LedoitWolf

        self.classes, rows, counts = np.unique(labels, return_inverse=True, return_counts=True)
        self.center, self.scale = features.mean(0), features.std(0)
        self.scale[self.scale < 1e-9] = 1.0
        scaled = self._scaled(features)
        means = np.stack([scaled[rows == c].mean(0) for c in range(len(self.classes))])
        # one covariance for all classes: a rare class has too few clips for its own
        covariance = LedoitWolf(assume_centered=True).fit(scaled - means[rows]).covariance_
        self.weights = np.linalg.solve(covariance + 1e-6 * np.eye(len(covariance)), means.T)
        self.bias = np.log(counts / counts.sum()) - 0.5 * (means.T * self.weights).sum(0)

    def _predict(self, features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        from scipy.special import softmax

        return self.classes, softmax(self._scaled(features) @ self.weights + self.bias, axis=1)

    def _scaled(self, features: np.ndarray) -> np.ndarray:
        return (features - self.center) / self.scale


def emotion_features(clips: ClipSet) -> tuple[list[str], np.ndarray]:
    """Videos (sorted) and (videos, F) what their labelled clips show of a mood; finite.

    Of each video: log shares of the classes, length of clips and pauses, speed of hands and head, posture of head and
    shoulders, and the face's landmarks against each other (mouth, brows, lids), medians and quartile distances over frames.
    clips: labelled segments in 137 OpenPose points; raises ValueError for a skeleton without them, and as `mean_pose`.
    """
    missing = sorted(set(_FACE.values()) - set(clips.topology.joints))
    if missing:
        raise ValueError(f"{clips.source}: {clips.topology.name!r} lacks {missing[0]}; emotion_features needs 137 points")
    posed = pose_clips(clips)
    frames, speed = _mood_of_frames(posed), mean_speed(posed)
    hands = [posed.joint(f"{side}_{joint}") for side in ("left", "right") for joint in ("wrist", "hand_index_4")]
    calm = np.log(np.nan_to_num(speed[:, [*hands, posed.joint("nose")]], nan=1e-3) + 1e-3)
    videos, number = np.unique(clips.index["video"].to_numpy(str), return_inverse=True)
    owner = np.repeat(number, posed.length)
    rows = []
    for v in range(len(videos)):
        mine = clips.index[number == v].sort_values("start")
        shares = np.bincount(mine["label"][mine["label"] >= 0], minlength=len(clips.class_names)) + 0.5
        pauses = (mine["start"].to_numpy()[1:] - mine["end"].to_numpy()[:-1]) / clips.fps
        low, median, high = _quartiles(frames[owner == v])
        rows.append([
            *np.log(shares / shares.sum()), np.log(mine["length"]).mean(), np.log1p(np.maximum(pauses, 0)).sum() / len(mine),
            *np.median(calm[number == v], axis=0), *median, *(high - low),
        ])  # fmt: skip
    return videos.tolist(), np.nan_to_num(np.array(rows, float))


def _mood_of_frames(posed: Posed) -> np.ndarray:
    """(F, K) posture in shoulder widths and face in widths between the outer eye corners, NaN where a point is not seen."""
    points = np.where(posed.seen[..., None] > 0, posed.points, np.nan)
    at = {name: points[:, posed.joint(joint)] for name, joint in _FACE.items()}
    nose, neck = points[:, posed.joint("nose")], points[:, posed.joint("neck")]
    shoulders = points[:, posed.joint("left_shoulder")] - points[:, posed.joint("right_shoulder")]
    eyes = at["left_eye_out"] - at["right_eye_out"]
    with np.errstate(divide="ignore", invalid="ignore"):
        axis = eyes / np.linalg.norm(eyes, axis=-1, keepdims=True)
        width = np.linalg.norm(eyes, axis=-1)
        down = np.stack([-axis[:, 1], axis[:, 0]], -1)  # of the face: a tilted head changes nothing
        middle = (at["left_eye_out"] + at["right_eye_out"]) / 2

        def below(upper: np.ndarray, lower: np.ndarray) -> np.ndarray:
            return ((lower - upper) * down).sum(-1) / width

        def apart(one: str, other: str) -> np.ndarray:
            return ((at[one] - at[other]) * axis).sum(-1) / width

        corners = (at["left_corner"] + at["right_corner"]) / 2
        lips = (at["lip_top"] + at["lip_low"]) / 2
        return np.stack([
            (nose - neck)[:, 1], np.abs((nose - neck)[:, 0]), middle[:, 1] - neck[:, 1], shoulders[:, 1], neck[:, 1], width,
            below(middle, at["nose_tip"]), below(middle, at["chin"]), below(at["nose_tip"], lips),
            apart("left_corner", "right_corner"), below(lips, corners), below(at["lip_top"], at["lip_low"]),
            below(at["inner_top"], at["inner_low"]), below(at["right_inner_brow"], middle), below(at["left_inner_brow"], middle),
            below(at["right_brow"], middle), below(at["left_brow"], middle), apart("left_inner_brow", "right_inner_brow"),
            below(at["right_lid_up"], at["right_lid_low"]), below(at["left_lid_up"], at["left_lid_low"]),
            below(lips, at["chin"]),
        ], axis=1)  # fmt: skip


def _quartiles(values: np.ndarray) -> np.ndarray:
    """(3, K) quartiles over the rows where a column is seen, 0 where it never is."""
    never = np.isnan(values).all(axis=0)
    return np.nanpercentile(np.where(never, 0.0, values), [25, 50, 75], axis=0)


def _touch(posed: Posed, middle: np.ndarray) -> np.ndarray:
    """(N, D) mean distance of both hands from places of the body and from each other, weighted to the clip's middle."""
    joints, hands, out = posed.topology.joints, [], []
    for side in ("right", "left"):
        own = [i for i, joint in enumerate(joints) if joint.startswith(f"{side}_hand")] or [posed.joint(f"{side}_wrist")]
        seen = posed.seen[:, own]
        hands.append((ratio((posed.points[:, own] * seen[..., None]).sum(1), seen.sum(1)[:, None]), seen.any(1)))
    places = [(posed.points[:, joints.index(name)], posed.seen[:, joints.index(name)] > 0) for name in _PLACES if name in joints]
    pairs = [(hand, place) for hand in hands for place in places] + [tuple(hands)]
    for (one, first), (other, second) in pairs:
        both = (first & second)[:, None] * middle
        out.append(posed.mean(np.nan_to_num(np.linalg.norm(one - other, axis=-1))[:, None], both))
    return np.concatenate(out, axis=1)


def decode_result(
    features: np.ndarray, won: np.ndarray, people: np.ndarray, folds: int = 10, repeats: int = 5, strength: float = 0.1,
    seed: int = 0,
) -> np.ndarray:  # fmt: skip
    """(N,) evidence for `won` of every video, by a logistic regression that never saw its person.

    features: (N, F); won: (N,) bool; people: (N,) names. strength: inverse of the L2 penalty on standardised features. folds
    are cut by person, `repeats` times anew, and the log odds averaged. Raises ValueError for fewer than two people.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import GroupKFold
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    folds = min(folds, len(np.unique(people)))
    if folds < 2:
        raise ValueError("win or lose can only be decoded across people; give videos of two or more")
    evidence = np.zeros(len(features))
    for repeat in range(repeats):
        for known, new in GroupKFold(folds, shuffle=True, random_state=seed + repeat).split(features, won, people):
            model = make_pipeline(StandardScaler(), LogisticRegression(C=strength, max_iter=2000))
            evidence[new] += model.fit(features[known], won[known]).decision_function(features[new]) / repeats
    return evidence
