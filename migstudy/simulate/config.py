"""Every knob of the simulator, with its unit, and the three sizes it comes in."""

from __future__ import annotations

from dataclasses import dataclass, fields

SPLITS = ("train", "validate", "test")
SHAPES = ("openpose", "light_hand")


@dataclass(frozen=True)
class SimulatorConfig:
    """Settings of one simulated release; `PROFILES` holds the usual ones.

    Sizes
    subjects: people in (train, validate, test). videos_per_subject: videos of each person.
    clips: labelled clips in (train, validate, test). min_clips: least clips of every class in (train, validate, test),
    taken from the commonest classes. protocol: whether videos and clip counts are the official challenge's instead; then
    subjects are split as 34 / 3 / 35 people and the four sizes above are ignored.

    Motion (factors are 1 for the person we modelled)
    amplitude: factor on the size of every gesture. tempo: factor on its speed. clip_seconds: factor on its duration.
    gap_seconds: mean pause between labelled clips, s. class_overlap: 0 to 1, how far a clip may drift towards its class's
    confusable partner; 1 makes partners indistinguishable. clutter: 0 to 1, share of clips in which a second, weaker gesture
    goes on. subject_style: factor on differences between people (0: all alike). take_variation: factor on differences between takes of a person. background: factor on unlabelled motion
    (breathing, sway, nods, talking, fidgeting). emotion_effect: 0 to 1 and beyond, how far winning or losing shifts which
    gestures occur (log rate ratio between the two, per unit, up to 1).

    Camera
    fps: frames a second. width, height: image size, px, in which keypoints are given. rgb_height: lines of the videos, px;
    their width follows. camera_yaw: largest angle between subject and camera, degrees. cuts: changes of camera a minute, mostly
    between labelled clips. camera_drift: slow pan of the operator, px (standard deviation at 1280 px width; the zoom drifts
    along by 0.2 % a px). blur: time the shutter is open, as a share of the frame interval, 0 to 1; fast joints are then found
    less surely and jitter along their path. microphone: whether one stands on the table and hides what lies behind it.

    Detector
    noise_px: jitter of a fully confident joint, px (standard deviation at a shoulder width of 220 px). hand_noise: factor
    on it for finger joints, face_noise: for facial landmarks. missing_rate: share of frames in which a visible hand is
    lost, from occlusion aside; face and arms are lost a tenth as often. swaps: left/right swaps of the arms a minute.
    mistakes: confident misplacements of a hand a minute.
    """

    subjects: tuple[int, int, int] = (14, 3, 7)
    videos_per_subject: int = 2
    clips: tuple[int, int, int] = (1150, 240, 390)
    min_clips: tuple[int, int, int] = (3, 0, 1)
    protocol: bool = False

    amplitude: float = 1.0
    tempo: float = 1.0
    clip_seconds: float = 1.0
    gap_seconds: float = 0.2
    class_overlap: float = 0.4
    clutter: float = 0.25
    subject_style: float = 1.0
    take_variation: float = 1.0
    background: float = 1.0
    emotion_effect: float = 0.3

    fps: float = 25.0
    width: int = 1280
    height: int = 720
    rgb_height: int = 288
    camera_yaw: float = 20.0
    cuts: float = 0.5
    camera_drift: float = 0.0
    blur: float = 0.5
    microphone: bool = True

    noise_px: float = 1.0
    hand_noise: float = 1.5
    face_noise: float = 0.6
    missing_rate: float = 0.10
    swaps: float = 1.0
    mistakes: float = 1.5

    def __post_init__(self) -> None:
        positive = ("videos_per_subject", "amplitude", "tempo", "clip_seconds", "fps", "width", "height", "rgb_height")
        for item in fields(self):
            value = getattr(self, item.name)
            low = min(value) if isinstance(value, tuple) else value
            if not low >= 0 or (item.name in positive and low == 0):  # `not >=` catches NaN
                least = "above 0" if item.name in positive else "0 or more"
                raise ValueError(f"simulator: {item.name}={value!r} must be {least}")
        for name in ("class_overlap", "clutter", "missing_rate", "blur"):
            if not getattr(self, name) <= 1:
                raise ValueError(f"simulator: {name}={getattr(self, name)!r} is a share; give 0 to 1")
        for name in ("subjects", "clips", "min_clips"):
            if len(getattr(self, name)) != len(SPLITS):
                raise ValueError(f"simulator: {name} needs three numbers, for {', '.join(SPLITS)}")
        if min(self.subjects) < 1:
            raise ValueError(f"simulator: subjects={self.subjects!r} must be 1 or more in every split")


PROFILES = {
    "smoke": SimulatorConfig(subjects=(4, 2, 2), videos_per_subject=1, clips=(64, 16, 24), min_clips=(0, 0, 0)),
    "quick": SimulatorConfig(),
    "paper": SimulatorConfig(protocol=True, min_clips=(1, 0, 1), gap_seconds=0.5, rgb_height=720),
}
