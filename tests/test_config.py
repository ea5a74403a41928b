"""Parameters: typed, checked, complete in every profile."""

import dataclasses
import json

import pytest

from migstudy.config.gesture import PROFILES, GestureConfig
from migstudy.config.parameters import parsed


@pytest.mark.parametrize("profile", PROFILES)
def test_profiles_fill_everything_and_only_what_is_open(profile):
    config = GestureConfig(profile=profile).resolved()
    assert None not in config.to_dict().values()
    open_fields = {f.name for f in dataclasses.fields(GestureConfig) if f.default is None}
    assert set(PROFILES[profile]) == open_fields
    assert GestureConfig(**json.loads(json.dumps(config.to_dict()))) == config


def test_given_values_win_over_the_profile():
    assert GestureConfig(profile="paper", epochs=3).resolved().epochs == 3
    assert GestureConfig(profile="paper").resolved().blocks == (4, 6, 3)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"epoch": "3"}, "did you mean 'epochs'"),
        ({"epochs": "three"}, "epochs='three': it takes int or None"),
        ({"stream": "bones"}, "one of joint, limb, bone"), ({"stream": "bone"}, "posec3d takes joint, limb"),
        ({"test_mirror": "maybe"}, "bool"),
        ({"epochs": "0"}, "at least 1"),
        ({"lr": "-1"}, "at least 0"),
    ],
)
def test_bad_options_are_refused_by_name(options, message):
    with pytest.raises(ValueError, match=message):
        GestureConfig.from_strings(options)


def test_wrong_types_are_refused():
    for wrong in ({"epochs": 2.5}, {"epochs": True}, {"topology": 41}, {"lr": "0.1"}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            GestureConfig(**wrong)


def test_texts_round_trip():
    for name, value in GestureConfig(profile="smoke").resolved().to_dict().items():
        assert parsed(name, str(value), GestureConfig.types()) == value


@pytest.mark.parametrize(
    "wrong",
    [{"lr": float("nan")}, {"stage_blocks": "1,x"}, {"stage_blocks": "1,1"}, {"dropout": 1.5}, {"crop_area": 1.5}, {"flip": 3.0},
     {"val_fraction": 1.5}],
)  # fmt: skip
def test_impossible_values_are_refused_at_once(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        GestureConfig(**wrong)
