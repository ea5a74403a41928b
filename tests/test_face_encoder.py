"""The stand-in face encoder: learns action units of training people, resumes, is reopened; its loss and its scores."""

import json
import shutil

import numpy as np
import pandas as pd
import pytest
import torch
from test_rgb import write_film
from test_swinface import TINY

from migstudy.faces import encoder as face_encoder
from migstudy.faces.crops import as_model_input, open_faces
from migstudy.faces.encoder import (
    UnitLoss,
    action_units,
    load_face_encoder,
    person_contrast,
    score_units,
    train_face_encoder,
    unit_scores,
)  # fmt: skip
from migstudy.faces.units import UNIT_BRANCHES, UnitFaceDataset, UnitFaces, load_unit_faces, mirrored_units, views_of
from migstudy.models.base import ModelOutput
from migstudy.models.swinface import PRESETS, SwinFace
from migstudy.simulate import simulate
from migstudy.simulate.face import ACTION_UNITS
from migstudy.simulate.mirror import mirror_channels
from migstudy.simulate.truth import load_truth

MOUTH = ACTION_UNITS.index("mouth_open")


@pytest.fixture(scope="module")
def release(tmp_path_factory):
    """True action units of four simulated people, and films in which a bar shows how far each mouth is open."""
    root = tmp_path_factory.mktemp("release")
    simulate(root, "smoke", 3, 1, extras=("truth",), subjects=(2, 1, 1), clips=(6, 2, 2), clip_seconds=0.5)
    for path in sorted((root / "truth").glob("*.npz")):
        opened = np.clip(load_truth(path).channels["mouth_open"].astype(float) / 0.5, 0, 1)

        def bar(i, size, opened=opened):
            picture = np.full((112, 112, 3), 70, np.uint8)
            picture[112 - int(100 * opened[i]) :, 40:72] = 230
            return picture

        write_film(root / "faces" / f"{path.stem}.mp4", len(opened), {"g": "25"}, size=(112, 112), draw=bar)
    return root


@pytest.fixture
def tiny(monkeypatch):
    monkeypatch.setitem(PRESETS, "small", TINY)


def videos(root, *splits):
    return sorted(path.name for split in splits for path in (root / f"imigue_skeleton_{split}").iterdir() if path.is_dir())


def train(root, folder=None, **changes):
    settings = {"epochs": 3, "frames": 160, "batch_size": 16, "lr": 1e-2, "threads": 1, "progress": False, **changes}
    return train_face_encoder(root, videos(root, "train"), folder=folder, cache=root / "cache", **settings)


def same(first, second):
    theirs = second.state_dict()
    return all(torch.equal(value, theirs[key]) for key, value in first.state_dict().items())


# -- training ----------------------------------------------------------------------------------------------------------


def test_it_learns_what_it_is_shown_and_tells_it_of_people_never_seen(release, tiny):
    model = train(release, epochs=12, frames=300)
    assert not model.training and model.task_outputs(torch.zeros(1, 3, 16, 16)).keys() == {*ACTION_UNITS, "Recognition"}
    held_out = open_faces(release, videos=videos(release, "test", "validate"), cache=release / "cache")
    scores = unit_scores(model, release, held_out, 150)
    assert scores.index.tolist() == list(ACTION_UNITS)
    assert scores.loc["mouth_open", ["r2", "correlation", "within_person"]].min() > 0.7
    assert scores["correlation"].drop(["mouth_open", "mouth_wide", "lip_press"]).abs().median() < 0.5  # the bar shows no other


def test_an_interrupted_training_ends_as_an_uninterrupted_one_and_is_opened_again(release, tiny, tmp_path, monkeypatch):
    whole = train(release, tmp_path / "whole")
    assert sorted(p.name for p in (tmp_path / "whole").iterdir() if p.suffix in (".json", ".safetensors", ".csv", ".pt")) == [
        "about.json", "config.json", "log.csv", "model.safetensors",
    ]  # fmt: skip
    done, calls = face_encoder._UnitTask.validate, []

    def killed(*args):
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return done(*args)

    monkeypatch.setattr(face_encoder._UnitTask, "validate", killed)
    with pytest.raises(KeyboardInterrupt):
        train(release, tmp_path / "cut")
    assert not (tmp_path / "cut" / "model.safetensors").exists()
    monkeypatch.setattr(face_encoder._UnitTask, "validate", done)
    assert same(train(release, tmp_path / "cut"), whole)
    monkeypatch.setattr(face_encoder, "fit", None)  # nothing is trained now
    assert same(train(release, tmp_path / "whole"), whole) and same(load_face_encoder(tmp_path / "whole"), whole)
    with pytest.raises(ValueError, match="whole holds a face encoder of other epochs; delete it, or choose another folder"):
        train(release, tmp_path / "whole", epochs=4)
    about = json.loads((tmp_path / "whole" / "about.json").read_text())
    assert "stand-in" in about["what"] and about["videos"] == videos(release, "train")


def test_every_parameter_of_the_stand_in_is_trained(release, tiny):
    torch.manual_seed(0)
    model = SwinFace(branches=list(UNIT_BRANCHES.values()), sizes=dict.fromkeys(ACTION_UNITS, 1), logits_of=ACTION_UNITS,
                     **(PRESETS["small"] | {"feature_dim": 64})).train()  # fmt: skip
    faces = load_unit_faces(release, open_faces(release, cache=release / "cache"), 16, 60)
    labels = torch.from_numpy(np.column_stack([faces.units, faces.people]).astype(np.float32))
    loss, parts = UnitLoss(faces.units.std(0), 0.1)(model(as_model_input(faces.pixels, 16)), labels)
    loss.backward()
    assert not [key for key, p in model.named_parameters() if p.grad is None or not p.grad.any()]
    assert loss.item() == pytest.approx((parts["units"] + 0.1 * parts["people"]).item())


def test_faults_are_named(release, tmp_path):
    with pytest.raises(FileNotFoundError, match="is no face encoder; give the file of SwinFace's checkpoint"):
        load_face_encoder(tmp_path)
    with pytest.raises(ValueError, match="unknown preset 'large' of SwinFace; choose swinface_t, small"):
        train(release, preset="large")
    with pytest.raises(ValueError, match="no faces of video 0999 are given"):
        train_face_encoder(release, ["0999"], faces=open_faces(release, cache=release / "cache"))
    shutil.copytree(release / "faces", tmp_path / "faces")
    with pytest.raises(FileNotFoundError, match=r"truth/0\d+\.npz is missing: only simulated videos have true action units"):
        load_unit_faces(tmp_path, open_faces(tmp_path, cache=tmp_path / "cache"), 16, 20)


# -- data --------------------------------------------------------------------------------------------------------------


def test_frames_come_evenly_from_all_videos_with_their_own_units(release):
    faces = open_faces(release, cache=release / "cache")
    shown = load_unit_faces(release, faces, 56, 80, seed=1)
    assert shown.pixels.shape[1:] == (56, 56, 3) and shown.units.shape == (len(shown), 20) and len(shown.names) == 4
    assert pd.Series(shown.videos).value_counts().tolist() == [20] * 4
    bars = shown.pixels[:, :, 28].mean(-1) > 150
    np.testing.assert_allclose(bars.sum(1) / 50 * 0.5, np.clip(shown.units[:, MOUTH], 0, 0.5), atol=0.03)


def test_a_mirrored_face_has_the_units_of_the_mirror_image():
    units = np.random.default_rng(0).uniform(0.1, 1, (7, 20))
    expected = mirror_channels(dict(zip(ACTION_UNITS, units.T, strict=True)))
    np.testing.assert_array_equal(mirrored_units(units), np.stack([expected[unit] for unit in ACTION_UNITS], 1))
    assert sorted(unit for branch in UNIT_BRANCHES.values() for unit in branch) == sorted(ACTION_UNITS)


def test_views_move_and_light_faces_as_they_say():
    pixels = torch.randint(0, 256, (2, 16, 16, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    still, light = torch.zeros(2, 5), torch.ones(2, 2)
    torch.testing.assert_close(views_of(pixels, still, light, 16), as_model_input(pixels, 16), atol=1e-5, rtol=0)
    mirrored = views_of(pixels, still + torch.tensor([1.0, 0, 0, 0, 0]), light, 16)
    torch.testing.assert_close(mirrored, as_model_input(pixels, 16).flip(-1), atol=1e-5, rtol=0)
    darker = views_of(pixels, still, torch.tensor([[0.5, 1.0]] * 2), 16)
    torch.testing.assert_close(darker, (as_model_input(pixels, 16) + 1) / 2 - 1, atol=1e-5, rtol=0)


def test_draws_follow_from_seed_epoch_and_position():
    rng = np.random.default_rng(0)
    faces = UnitFaces(rng.integers(0, 256, (6, 8, 8, 3), np.uint8), rng.uniform(0.1, 1, (6, 20)).astype(np.float32),
                      np.arange(6) % 2, ("a", "b"), np.array(["v"] * 6))  # fmt: skip
    first, second = UnitFaceDataset(faces, 1), UnitFaceDataset(faces, 1)
    assert all(np.array_equal(first[3][key], second[3][key]) for key in first[3])
    second.epoch = 1
    assert not np.array_equal(first[3]["view"], second[3]["view"])
    for i in range(6):
        item = first[i]
        shown = mirrored_units(faces.units[i]) if item["view"][0] else faces.units[i]
        np.testing.assert_array_equal(item["label"], [*shown, i % 2])
    assert {first[i]["view"][0] for i in range(6)} == {0.0, 1.0}


# -- loss, scores ------------------------------------------------------------------------------------------------------


def test_the_contrast_is_the_papers():
    embeddings = torch.randn(6, 4, dtype=torch.double, generator=torch.Generator().manual_seed(0))
    people = torch.tensor([0, 1, 0, 2, 1, 0])
    z = embeddings / embeddings.norm(dim=1, keepdim=True)
    total, anchors = 0.0, 0
    for i in range(6):
        others = [j for j in range(6) if j != i]
        pairs = [j for j in others if people[j] == people[i]]
        if pairs:
            bottom = sum(torch.exp(z[i] @ z[j] / 0.1) for j in others)
            total -= sum(torch.log(torch.exp(z[i] @ z[j] / 0.1) / bottom) for j in pairs) / len(pairs)
            anchors += 1
    torch.testing.assert_close(person_contrast(embeddings, people), total / anchors)
    assert person_contrast(embeddings, torch.arange(6)) == 0
    assert torch.autograd.gradcheck(lambda e: person_contrast(e, people), embeddings.requires_grad_())


def test_units_count_by_their_spread():
    spread = np.full(20, 0.1)
    spread[3] = 0.0
    loss = UnitLoss(spread, 0.0)
    labels, wrong = torch.zeros(2, 21), torch.zeros(2, 20)
    labels[:, -1] = torch.arange(2)
    wrong[:, 0] = 0.1
    output = ModelOutput(wrong, torch.ones(2, 4), torch.ones(2, 1, 4))
    assert loss(output, labels)[0].item() == pytest.approx(1 / 20)
    wrong[:, 0], wrong[:, 3] = 0.0, 0.02  # one that never varies counts as if it varied by 0.02
    assert loss(output, labels)[0].item() == pytest.approx(1 / 20)


def test_scores_tell_people_apart_from_expressions():
    rng = np.random.default_rng(0)
    truth, people = rng.uniform(0, 1, (60, 20)), np.repeat([0, 1], 30)
    truth[:, 5] = 0.3
    perfect = score_units(truth, truth, people)
    assert perfect.drop(index=ACTION_UNITS[5])[["r2", "correlation", "within_person"]].min().min() == pytest.approx(1)
    assert perfect.loc[ACTION_UNITS[5], ["r2", "correlation", "within_person"]].isna().all()
    shifted = score_units(truth, truth + 2.0 * people[:, None], people)
    assert shifted["within_person"].min() == pytest.approx(1) and shifted["correlation"].max() < 0.6 and shifted["r2"].max() < 0
    constant = score_units(truth, np.zeros_like(truth) + truth.mean(0), people)
    assert constant["r2"].abs().max() < 1e-9


def test_predictions_do_not_depend_on_the_batch(tiny):
    torch.manual_seed(0)
    model = SwinFace(branches=list(UNIT_BRANCHES.values()), sizes=dict.fromkeys(ACTION_UNITS, 1), logits_of=ACTION_UNITS,
                     **PRESETS["small"]).train()  # fmt: skip
    pixels = np.random.default_rng(0).integers(0, 256, (5, 16, 16, 3), np.uint8)
    np.testing.assert_allclose(action_units(model, pixels, 2), action_units(model, pixels, 5), atol=1e-5)
    assert model.training
