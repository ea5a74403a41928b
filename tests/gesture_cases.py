"""Videos of recognised gestures with a planted difference between winners and losers."""

from __future__ import annotations

import numpy as np
import pandas as pd

from migstudy.emotion.gesture_sequence import GestureEvents

NAMES = ("press lips", "touch neck", "fold arms", "illustrate")
FPS = 25.0


def videos_of_gestures(
    people: int = 30, each: int = 2, effect: float = 1.0, soft: float = 0.2, seed: int = 0
) -> tuple[GestureEvents, pd.DataFrame]:
    """Events of people x each videos of half a minute to a minute, and their table: losers press their lips e^effect as often."""
    rng = np.random.default_rng(seed)
    rows, probabilities, frames, videos = [], [], {}, []
    for person in range(people):
        for take in range(each):
            name, won = f"v{person:03d}_{take}", int(rng.integers(2)) if each == 1 else (person + take) % 2
            frames[name] = length = int(rng.integers(30 * FPS, 60 * FPS))
            videos.append((name, f"p{person}", won))
            rates = np.array([6.0, 3.0, 2.0, 12.0]) * np.exp([effect * (0.5 - won), 0, 0, 0])
            for gesture in rng.permutation(np.repeat(range(4), rng.poisson(rates * length / FPS / 60))):
                last = int(rng.integers(10, 80))
                start = int(rng.integers(0, length - last))
                rows.append((name, f"{name}_{len(rows)}", start, start + last - 1))
                probabilities.append(rng.dirichlet(soft + 4 * np.eye(4)[gesture]))
    table = pd.DataFrame(rows, columns=["video", "clip_id", "start", "end"])
    events = GestureEvents(table, np.array(probabilities).reshape(-1, 4), NAMES, FPS, frames)
    return events, pd.DataFrame(videos, columns=["video", "subject", "label"])
