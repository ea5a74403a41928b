"""A simulator of micro-gestures that writes skeletons in the layout of the iMiGUE release.

Nothing here is iMiGUE: nobody was recorded. `simulate(out, profile=...)` writes a release; `SimulatorConfig` lists the knobs.
"""

from migstudy.simulate.config import PROFILES, SimulatorConfig
from migstudy.simulate.release import simulate
from migstudy.simulate.video import SimulatedVideo, simulate_clips, simulate_video

__all__ = ["PROFILES", "SimulatedVideo", "SimulatorConfig", "simulate", "simulate_clips", "simulate_video"]
