"""Everything drawn: explicit Figure objects in one style, saved with a note of where they come from."""

from migstudy.figures.canonical_pose import canonical_pose
from migstudy.figures.data import draw_class_histogram, draw_clip_lengths, draw_doctor
from migstudy.figures.emotion import draw_emotion_forest, draw_reliability, draw_risk_coverage, draw_roc
from migstudy.figures.emotion_effects import draw_emotion_effects
from migstudy.figures.evidence import draw_evidence, draw_privacy
from migstudy.figures.fusion import draw_missing_modalities
from migstudy.figures.gallery import draw_gallery
from migstudy.figures.representation import (
    draw_graph_input,
    draw_heatmaps,
    draw_input,
    draw_interpolation,
    draw_pictures,
    draw_sampling,
)  # fmt: skip
from migstudy.figures.results import draw_ablation, draw_confusion, draw_per_class, draw_published, draw_training_curves
from migstudy.figures.robustness import draw_difficulty, draw_robustness
from migstudy.figures.skeleton import draw_adjacency, draw_clip, draw_topologies, draw_topology
from migstudy.figures.style import draw_missing, save_figure
from migstudy.figures.words import draw_label_similarity

__all__ = [
    "canonical_pose", "draw_ablation", "draw_adjacency", "draw_class_histogram", "draw_clip", "draw_clip_lengths",
    "draw_confusion", "draw_difficulty", "draw_doctor", "draw_gallery", "draw_graph_input",
    "draw_heatmaps", "draw_input", "draw_interpolation",
    "draw_emotion_effects", "draw_emotion_forest", "draw_evidence", "draw_privacy", "draw_reliability", "draw_risk_coverage", "draw_roc",
    "draw_label_similarity", "draw_missing", "draw_missing_modalities", "draw_per_class", "draw_pictures", "draw_published", "draw_robustness",
    "draw_sampling",
    "draw_topologies", "draw_topology", "draw_training_curves", "save_figure",
]  # fmt: skip
