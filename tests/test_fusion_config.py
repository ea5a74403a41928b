"""The fusion's parameters: complete in every profile, refused by name, the same as the notebook's cell."""

import dataclasses
import json

import pytest
from projects import ROOT

from migstudy.config.fusion import FusionConfig
from migstudy.config.gesture import GestureConfig
from migstudy.config.parameters import parsed
from migstudy.fusion.encoders import encoder_cells, encoder_configs
from migstudy.fusion.study import fusion_cells, fusion_encoder_cells, fusion_variants
from migstudy.models import MODELS
from migstudy.runs.execute import CONFIGS, TRAINED, check_parameters, notebook_parameters

NOTEBOOK = ROOT / "notebooks" / "04_fusion.ipynb"


@pytest.mark.parametrize("profile", FusionConfig.profiles)
def test_profiles_fill_everything_and_only_what_is_open(profile):
    config = FusionConfig(profile=profile).resolved()
    assert None not in config.to_dict().values()
    assert set(FusionConfig.profiles[profile]) == {f.name for f in dataclasses.fields(FusionConfig) if f.default is None}
    assert FusionConfig(**json.loads(json.dumps(config.to_dict()))) == config
    for name, value in config.to_dict().items():
        assert parsed(name, str(value), FusionConfig.types()) == value
    assert config.width % config.heads == 0


def test_the_notebook_takes_exactly_the_fields_of_the_configuration():
    kinds, defaults = notebook_parameters(NOTEBOOK)
    assert list(kinds) == list(FusionConfig.types()) and kinds == FusionConfig.types()
    assert FusionConfig.from_namespace(defaults) == FusionConfig()
    assert CONFIGS["04_fusion"] is FusionConfig and "04_fusion" in TRAINED
    assert check_parameters(NOTEBOOK, {"profile": "paper"})["width"] == 256


def test_every_fusion_of_the_configuration_is_a_model():
    names = FusionConfig.types()["fusion"].__args__
    assert {*names} <= MODELS.keys()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"streams": "joint,limb"}, "streams='joint,limb': no stream 'limb'"), ({"streams": "joint,joint"}, "name each stream once"),
        ({"streams": "joint"}, "needs two modalities, there is joint"), ({"streams": "none"}, "there is none"),
        ({"fusion": "single_modality"}, "modality='': single_modality looks at one of bone, joint"),
        ({"fusion": "single_modality", "modality": "rgb"}, "modality='rgb'"), ({"modality": "joint"}, "only fusion=single_modality"),
        ({"width": 10, "heads": 4}, "heads=4"), ({"modality_dropout": 1.0}, "modality_dropout"), ({"encoder_seed": -2}, "encoder_seed"),
        ({"fusion": "attention"}, "fusion"), ({"video_run": "runs/mine"}, "video_run='runs/mine'.*video_model=mvit"),
        ({"encoder_lr": -0.1}, "encoder_lr"), ({"encoder_lr": 1.5}, "encoder_lr"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused_by_name(options, message):
    with pytest.raises(ValueError, match=message):
        FusionConfig(**options)


def test_modalities_are_those_a_fusion_looks_at():
    assert FusionConfig(streams="joint, bone", video_model="mvit").modalities == ("bone", "joint", "rgb")
    assert FusionConfig(video_model="mvit", fusion="single_modality", modality="rgb").modalities == ("rgb",)
    assert FusionConfig(streams="joint", video_model="mvit").modalities == ("joint", "rgb")
    assert FusionConfig(streams="none", video_model="mvit", fusion="single_modality", modality="rgb").available == ("rgb",)


def test_encoders_are_runs_that_anybody_could_have_asked_for():
    config = FusionConfig(profile="paper", data="somewhere", skeleton_model="ctrgcn", video_model="mvit", films="films", seed=3)
    own = encoder_configs(config)
    graph = {"profile": "paper", "data": "somewhere", "model": "ctrgcn", "seed": 3}
    assert own["joint"] == GestureConfig(**graph, stream="joint").resolved()
    assert own["bone"] == GestureConfig(**graph, stream="bone").resolved()
    assert own["rgb"] == GestureConfig(profile="paper", data="somewhere", films="films", model="mvit", seed=3).resolved()
    quick = encoder_configs(FusionConfig(seed=3, encoder_seed=1))["bone"]
    assert (quick.base_channels, quick.clip_len, quick.epochs, quick.seed) == (16, 32, 15, 1)


def test_the_cells_of_the_study_are_valid_and_share_their_encoders():
    for video in ("none", "mvit"):
        cells = fusion_cells("quick", (0, 1), video=video)
        configs = [FusionConfig.from_strings(cell) for cell in cells]
        assert len(cells) == 2 * len(fusion_variants(video)) and len({json.dumps(c.resolved().to_dict()) for c in configs}) == len(cells)
        needed = {json.dumps(e.to_dict()) for config in configs for e in encoder_configs(config).values()}
        planned = [GestureConfig.from_strings(cell).resolved() for cell in fusion_encoder_cells("quick", (0, 1), video=video)]
        assert {json.dumps(e.to_dict()) for e in planned} == needed and len(planned) == len(needed)
    memory = {name: variant["memory"] for name, variant in fusion_variants().items()}
    assert [name for name, on in memory.items() if on == "true"] == ["token fusion + memory"]
    assert {"data"} & {*encoder_cells(FusionConfig())["joint"]}
