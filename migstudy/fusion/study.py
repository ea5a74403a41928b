"""Which runs the study of fusion is made of, and where they are found when they are finished."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from migstudy.config.fusion import FusionConfig
from migstudy.fusion.encoders import encoder_cells
from migstudy.results import Groups, find_runs, params_of, seed_of, without_seed
from migstudy.runs.folder import finished_runs, same_question
from migstudy.study import LIMB, SEEDS, VARIANTS

TASK = "04_fusion"
STREAMS = "joint,bone"


def fusion_variants(video: str = "none", streams: str = STREAMS) -> dict[str, dict[str, str]]:
    """Row of the table -> options of `migstudy run 04`: every modality alone, every way to fuse, and the memory.

    The memory stays out of all but the last, so that its effect stands alone.
    """
    shared = {"streams": streams, "video_model": video, "memory": "false"}
    names = FusionConfig.from_strings(shared).available
    alone = {f"{name} alone": {"fusion": "single_modality", "modality": name} for name in names}
    fused = {
        "concatenation": {"fusion": "concatenation"}, "late fusion, trained": {"fusion": "late_fusion"},
        "gated fusion": {"fusion": "gated_fusion"}, "joint transformer": {"fusion": "joint_transformer"},
        "token fusion": {"fusion": "token_fusion"}, "token fusion + memory": {"fusion": "token_fusion", "memory": "true"},
    }  # fmt: skip
    return {name: {**shared, **own} for name, own in {**alone, **fused}.items()}


def fusion_cells(
    profile: str, seeds: Sequence[int] = SEEDS, data: str = "simulator", video: str = "none"
) -> list[dict[str, str]]:
    """The runs of 04_fusion that the table needs; their encoders (`fusion_encoder_cells`) are best trained before."""
    shared = {"profile": profile} | ({"data": data} if data != "simulator" else {})
    return [{**shared, **variant, "seed": str(seed)} for seed in seeds for variant in fusion_variants(video).values()]


def fusion_encoder_cells(
    profile: str, seeds: Sequence[int] = SEEDS, data: str = "simulator", video: str = "none"
) -> list[dict[str, str]]:
    """The runs of 03_train_gesture that the fusions take their tokens from."""
    configs = [FusionConfig(profile=profile, data=data, streams=STREAMS, video_model=video, seed=seed) for seed in seeds]
    return [cell for config in configs for cell in encoder_cells(config).values()]


def encoder_groups(profile: str, data: str = "simulator", video: str = "none") -> Groups:
    """Modality -> the finished runs of its encoder, by seed."""
    cells = encoder_cells(FusionConfig(profile=profile, data=data, streams=STREAMS, video_model=video))
    return find_runs({name: _without(cell, "seed", "profile", "data") for name, cell in cells.items()}, profile, data)


def heatmap_groups(profile: str, data: str = "simulator") -> Groups:
    """Paper A's two streams, whose scores late fusion takes in as well."""
    return find_runs({"PoseC3D joint": VARIANTS["all three"], "PoseC3D limb": LIMB}, profile, data)


def fusion_groups(profile: str, data: str = "simulator", video: str = "none") -> Groups:
    """Variant -> its finished runs by seed, the newest of those that asked for the same; empty where nothing is finished."""
    stored = sorted(finished_runs(task=TASK), key=lambda run: run.read_json("env.json")["started"])
    newest = sorted({same_question(params_of(run)): run for run in stored}.values(), key=seed_of)
    groups: Groups = {}
    for name, variant in fusion_variants(video).items():
        config = FusionConfig.from_strings({"profile": profile, "data": data, **variant})
        asked = same_question(without_seed(config.resolved().to_dict()))
        groups[name] = [run for run in newest if same_question(without_seed(params_of(run))) == asked]
    return groups


def _without(cell: Mapping[str, Any], *names: str) -> dict[str, Any]:
    return {name: value for name, value in cell.items() if name not in names}
