"""The parameters of the robustness curves."""

from __future__ import annotations

from dataclasses import dataclass

from migstudy.config.parameters import Parameters, Profile


@dataclass(frozen=True)
class RobustnessConfig(Parameters):
    """Parameters of the robustness curves: what is simulated, and which trained models are asked; None as in `GestureConfig`.

    data: `simulator`, or the folder of a simulated release: the data that the models were trained on. models: recipes of
    the training runs to ask, by their names in `study.VARIANTS`, or joint, limb. knobs: names of the knobs that are
    turned after training, or `all`. values: how many values of each. test_clips: views of a clip. matched_knobs: knobs at
    whose values light classifiers are trained and tested. matched_seeds: simulations of each value. emotion_effects: values
    at which win or lose is decoded, from two videos of each of emotion_people people with emotion_clips clips (about 2 s
    each) a video. seed: of exchanged results; simulations follow the seed of the trained data. workers: processes, 0 = one a
    core. threads: of each process, 0 = its share of the cores. run_dir: where the run is kept; empty = runs/<id>. Raises
    ValueError naming the parameter, also for an unknown knob and an effect that is no number.
    """

    profile: Profile = "quick"
    data: str = "simulator"
    models: str = "joint"
    knobs: str | None = None
    values: int | None = None
    test_clips: int | None = None
    matched_knobs: str | None = None
    matched_seeds: int | None = None
    emotion_effects: str | None = None
    emotion_people: int | None = None
    emotion_clips: int | None = None
    seed: int = 0
    workers: int | None = None
    threads: int = 0
    run_dir: str = ""

    profiles = {
        "paper": dict(
            knobs="all", values=7, test_clips=10, matched_knobs="amplitude,noise_px,class_overlap,missing_rate", matched_seeds=3,
            emotion_effects="0,0.25,0.5,1,2", emotion_people=200, emotion_clips=24, workers=0,
        ),
        "quick": dict(
            knobs="amplitude,tempo,class_overlap,clutter,subject_style,camera_yaw,fps,noise_px,hand_noise,missing_rate,"
            "swaps,mistakes",
            values=5, test_clips=1, matched_knobs="amplitude,noise_px", matched_seeds=3,
            emotion_effects="0,0.25,0.5,1,2", emotion_people=60, emotion_clips=8, workers=0,
        ),
        "smoke": dict(
            knobs="amplitude,noise_px", values=2, test_clips=1, matched_knobs="amplitude", matched_seeds=1,
            emotion_effects="0,2", emotion_people=6, emotion_clips=3, workers=1,
        ),
    }  # fmt: skip
    least = {
        "values": 2, "test_clips": 1, "matched_seeds": 1, "emotion_people": 4, "emotion_clips": 1, "seed": 0,
        "workers": 0, "threads": 0,
    }  # fmt: skip

    def __post_init__(self) -> None:
        super().__post_init__()
        from migstudy.robustness.knobs import conditions  # imports the simulator
        from migstudy.simulate import SimulatorConfig

        for name in ("knobs", "matched_knobs"):  # now, and not after hours of measuring
            if getattr(self, name) is not None:
                try:
                    conditions(getattr(self, name), SimulatorConfig(), 2)
                except ValueError as error:
                    raise ValueError(f"{name}: {error}") from None
        for text in (self.emotion_effects or "0").split(","):
            try:
                SimulatorConfig(emotion_effect=float(text))
            except ValueError:
                raise ValueError(f"emotion_effects={self.emotion_effects!r}: give numbers from 0 on, as in 0,0.5,1") from None
