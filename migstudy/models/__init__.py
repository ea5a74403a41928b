"""The networks of the study: one paper, one file. A file is imported when its model is first asked for."""

from __future__ import annotations

from importlib import import_module

from migstudy.models.base import ModelOutput, StudyModel, average_views

MODELS: dict[str, str] = {
    "agcn": "migstudy.models.agcn:AGCN",
    "attention_mil": "migstudy.models.mil:AttentionMIL",
    "concatenation": "migstudy.models.fusion_baselines:Concatenation",
    "ctrgcn": "migstudy.models.ctrgcn:CTRGCN",
    "gated_fusion": "migstudy.models.fusion_baselines:GatedFusion",
    "gesture_lstm": "migstudy.models.gesture_lstm:GestureLSTM",
    "hypergraph_transformer": "migstudy.models.hypergraph:HypergraphTransformer",
    "inter_fusion": "migstudy.models.inter_fusion:InterFusion",
    "joint_transformer": "migstudy.models.fusion_baselines:JointTransformer",
    "late_fusion": "migstudy.models.fusion_baselines:LateFusion",
    "mvit": "migstudy.models.mvit:MViT",
    "posec3d": "migstudy.models.posec3d:PoseC3D",
    "single_modality": "migstudy.models.fusion_baselines:SingleModality",
    "stgcn": "migstudy.models.stgcn:STGCN",
    "swinface": "migstudy.models.swinface:SwinFace",
    "token_fusion": "migstudy.models.token_fusion:TokenFusion",
}
"""name -> "module:class", a string so that one model's heavy imports never burden another."""


def list_models() -> list[str]:
    return sorted(MODELS)


def get_model_class(name: str) -> type[StudyModel]:
    """The class behind a name; raises ValueError with the known names."""
    if name not in MODELS:
        raise ValueError(f"unknown model {name!r}; known: {', '.join(list_models())}")
    module, _, cls = MODELS[name].partition(":")
    return getattr(import_module(module), cls)


def create_model(name: str, **config) -> StudyModel:
    """A freshly initialised model: `create_model("posec3d", in_channels=41, embedding_dim=384)`."""
    return get_model_class(name)(**config)


__all__ = ["MODELS", "ModelOutput", "StudyModel", "average_views", "create_model", "get_model_class", "list_models"]
