"""The video model trains by the common loop: it learns from films, resumes exactly, starts from checkpoints, names its faults."""

import shutil

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file, save_file
from torchvision.models.video import MViT_V2_S_Weights
from toy import tiny
from toy_films import save_toy_films, tiny_video

from migstudy import fit, loading
from migstudy import train as module
from migstudy.config.gesture import GestureConfig
from migstudy.data import data_path, open_data
from migstudy.models import get_model_class
from migstudy.scores import get_probabilities, load_scores
from migstudy.simulate import PROFILES, SimulatorConfig
from migstudy.train import predict, train
from migstudy.video.films import FilmError, find_films
from migstudy.video.tokens import rgb_tokens

SHARE = ((16, 12, 12), (4, 4, 4), (6, 6, 6))
LONG = {"epochs": 3, "batch_size": 8, "dropout": 0.3, "drop_path": 0.2, "warmup_epochs": 1.0}


@pytest.fixture(autouse=True)
def project(tmp_path, monkeypatch):
    """Runs go to an empty project."""
    monkeypatch.setenv("MIGSTUDY_ROOT", str(tmp_path))
    return tmp_path


@pytest.fixture(scope="module")
def toy(tmp_path_factory):
    return str(save_toy_films(tmp_path_factory.mktemp("toy") / "clips", share=SHARE))


@pytest.fixture(scope="module")
def learned(toy, tmp_path_factory):
    patch = pytest.MonkeyPatch()
    patch.setenv("MIGSTUDY_ROOT", str(tmp_path_factory.mktemp("learned")))
    yield {shuffled: train(tiny_video(data=toy, epochs=12, shuffle_labels=shuffled)) for shuffled in (False, True)}
    patch.undo()


@pytest.fixture(scope="module")
def uninterrupted(toy, tmp_path_factory):
    patch = pytest.MonkeyPatch()
    patch.setenv("MIGSTUDY_ROOT", str(tmp_path_factory.mktemp("whole")))
    yield train(tiny_video(data=toy, **LONG))
    patch.undo()


def assert_same(run, other):
    """Weights, scores and log equal to the last bit."""
    assert run.path("log.csv").read_bytes() == other.path("log.csv").read_bytes()
    a, b = (load_file(r.path("model.safetensors")) for r in (run, other))
    assert a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)
    pd.testing.assert_frame_equal(*(load_scores(r.path("scores.parquet")) for r in (run, other)), check_exact=True)


# -- learning --------------------------------------------------------------------------------------------------------


def test_it_learns_from_films_what_can_be_learned(learned):
    test = learned[False].read_json("metrics.json")["test"]
    assert test["macro_f1"] > 0.7 and test["majority"]["macro_f1"] < 0.25
    log = pd.read_csv(learned[False].path("log.csv"))
    assert log["loss"].iloc[-1] < 0.6 * log["loss"].iloc[0]


def test_pictures_train_as_their_differences_do(toy):
    run = train(tiny_video(data=toy, stream="rgb", epochs=1))
    model = get_model_class("mvit").from_pretrained(run.folder)
    moving = get_model_class("mvit").from_pretrained(run.folder, motion=True)
    still = torch.rand(2, 3, 1, 24, 24).expand(2, 3, 4, 24, 24)
    shown = still + torch.rand(2, 1, 4, 1, 1)
    with torch.no_grad():
        assert not model.motion and not torch.allclose(model.eval()(still).logits[0], model(still).logits[1], atol=1e-4)
        assert torch.allclose(moving.eval()(still).logits[0], moving(still).logits[1], atol=1e-6), "what stands still is gone"
        assert not torch.allclose(moving(shown).logits, moving(still).logits, atol=1e-4)


def test_shuffled_labels_fall_to_chance(learned):
    assert learned[True].read_json("metrics.json")["test"]["macro_f1"] < 0.55
    params = [learned[shuffled].read_json("params.json")["params"] for shuffled in (False, True)]
    assert {k for k in params[0] if params[0][k] != params[1][k]} == {"shuffle_labels"}


def test_saved_weights_give_the_same_scores_and_tokens(learned, toy, tmp_path):
    run, config = learned[False], tiny_video(data=toy)
    data, model = open_data(config), get_model_class("mvit").from_pretrained(run.folder)
    stored = load_scores(run.path("scores.parquet"))
    fresh = predict(model, data.test, config, views=config.test_clips, pixels=data.pixels)
    stored = stored[stored["split"] == "test"].reset_index(drop=True)
    assert list(fresh["clip_id"]) == list(stored["clip_id"])
    np.testing.assert_allclose(get_probabilities(fresh), get_probabilities(stored), atol=1e-5)
    tokens = rgb_tokens(model, data.test, data.pixels, 4, 24, dtype="float32", cache=tmp_path, progress=False)
    with torch.no_grad():
        logits = model.eval().head(torch.as_tensor(np.array(tokens[stored["clip_id"][0]]))[None, 0])
    one_view = predict(model, data.test.select(clip_id=[stored["clip_id"][0]]), config, pixels=data.pixels)
    np.testing.assert_allclose(logits.softmax(-1), get_probabilities(one_view), atol=1e-4)


# -- killed and started again ----------------------------------------------------------------------------------------


class Killed(BaseException):
    """Not an Exception: nothing may catch it."""


@pytest.mark.parametrize("calls", [2, 9, 14])  # before any checkpoint, in the second epoch, in its validation
def test_death_and_resumption_change_nothing(calls, toy, uninterrupted, monkeypatch):
    seen = iter(range(1, 1000))
    with monkeypatch.context() as patch:
        def dying(*args, original=module.represent, **options):
            if next(seen) == calls:
                raise Killed
            return original(*args, **options)

        patch.setattr(module, "represent", dying)
        with pytest.raises(Killed):
            train(tiny_video(data=toy, run_dir="run", **LONG))
    run = train(tiny_video(data=toy, run_dir="run", **LONG))
    assert_same(run, uninterrupted)
    assert not run.path(fit.CHECKPOINT).exists()


def test_loading_processes_change_nothing(toy, uninterrupted):
    assert_same(train(tiny_video(data=toy, workers=2, **LONG)), uninterrupted)


# -- batches ---------------------------------------------------------------------------------------------------------


def batches(config, data, epoch):
    loader = loading.train_loader(data.train, config, data.pixels)
    fit.start_epoch(loader, config.seed, epoch)
    return [loading.represent(batch, data.topology, config, config.train_size, train=True) for batch in loader]


def test_a_batch_follows_from_seed_and_epoch(toy):
    config = tiny_video(data=toy).resolved()
    data = open_data(config)
    first, again, later = batches(config, data, 0), batches(config, data, 0), batches(config, data, 1)
    other = batches(tiny_video(data=toy, seed=1).resolved(), data, 0)
    assert first[0].shape == (8, 3, 4, 24, 24) and first[0].dtype == torch.float32
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert not torch.equal(first[0], later[0]) and not torch.equal(first[0], other[0])


def test_mirrored_test_views_follow_their_own(toy):
    config = tiny_video(data=toy).resolved()
    data = open_data(config)
    batch = next(iter(loading.eval_loader(data.test, config, 2, data.pixels)))
    plain = loading.represent(batch, data.topology, config, 24)
    both = loading.represent(batch, data.topology, config, 24, mirror=True)
    assert len(both) == 2 * len(plain) == 4 * len(batch["label"])
    assert torch.equal(both[::2], plain) and torch.equal(both[1::2], plain.flip(-1))


def test_pixels_do_not_depend_on_the_topology_that_is_trained_on(tmp_path):
    place = save_toy_films(tmp_path / "clips", share=((2, 2, 2), (1, 1, 1), (1, 1, 1)), topology="imigue41")
    native, other = (open_data(tiny_video(data=str(place), topology=name)) for name in ("native", "imigue22"))
    assert native.pixels.fingerprint == other.pixels.fingerprint and native.fingerprint == other.fingerprint
    assert open_data(tiny(data=str(place))).pixels is None


# -- checkpoints -----------------------------------------------------------------------------------------------------


def test_training_starts_from_given_weights_but_the_heads(learned, toy):
    theirs = learned[False].path("model.safetensors")
    config = tiny_video(data=toy, weights=str(theirs))
    model, _ = module.build(config, open_data(config))
    kept, own = load_file(theirs), model.state_dict()
    heads = {key for key in own if key.startswith("head.")}
    assert heads and all(torch.equal(own[key], kept[key]) for key in own.keys() - heads)
    assert not torch.equal(own["head.1.weight"], kept["head.1.weight"])


def test_weights_that_are_missing_or_do_not_fit_are_named(toy, tmp_path):
    data = open_data(tiny_video(data=toy))
    with pytest.raises(ValueError, match="weights='nowhere.pth': no such file; give torchvision's or mmaction2's"):
        module.build(tiny_video(weights="nowhere.pth"), data)
    other, _ = module.build(tiny_video(base_channels=16), data)
    save_file({k: v.contiguous() for k, v in other.state_dict().items()}, tmp_path / "wide.safetensors")
    with pytest.raises(ValueError, match=r"wide\.safetensors does not fit this MViT.*conv_proj"):
        module.build(tiny_video(weights=str(tmp_path / "wide.safetensors")), data)


def test_kinetics_weights_out_of_reach_say_what_to_do(toy, monkeypatch):
    def unreachable(*args, **options):
        raise OSError("no route to host")

    monkeypatch.setattr(MViT_V2_S_Weights, "get_state_dict", unreachable)
    with pytest.raises(ConnectionError, match=r"no route to host.*mvit_v2_s.*give the file's path instead of 'kinetics'"):
        module.build(GestureConfig(profile="paper", model="mvit", data=toy), open_data(tiny_video(data=toy)))


def test_the_paper_profile_builds_the_published_network(toy):
    config = GestureConfig(profile="paper", model="mvit", weights="").resolved()
    published = get_model_class("mvit")(num_classes=3)
    with torch.device("meta"):
        model, _ = module.build(config, open_data(tiny_video(data=toy)))
        output = model(torch.zeros(1, 3, config.clip_len, config.train_size, config.train_size))
    shapes = {key: value.shape for key, value in model.state_dict().items()}
    assert shapes == {key: value.shape for key, value in published.state_dict().items()}
    assert output.tokens.shape == (1, 393, 768) and output.logits.shape == (1, 3)


# -- parameters and faults -------------------------------------------------------------------------------------------


def test_the_model_alone_chooses_its_stream():
    config = GestureConfig(model="mvit").resolved()
    assert (config.stream, config.on_rgb, config.label_embedding) == ("rgb_motion", True, "none")
    assert GestureConfig().resolved().stream == GestureConfig(model="agcn").resolved().stream == "joint"
    paper = GestureConfig(model="mvit", profile="paper").resolved()
    assert (paper.stream, paper.blocks, paper.weights) == ("rgb", (1, 2, 11, 2), "kinetics")


@pytest.mark.parametrize(
    ("options", "message"),
    [({"model": "mvit", "stream": "joint"}, "mvit takes rgb, rgb_motion"), ({"stream": "rgb"}, "posec3d takes joint, limb"),
     ({"weights": "kinetics"}, "only mvit takes a checkpoint"), ({"model": "mvit", "stage_blocks": "3"}, "two to five stages")],
)  # fmt: skip
def test_what_does_not_go_together_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        GestureConfig(**options)


def test_a_missing_film_is_one_clear_error(toy, tmp_path):
    place = shutil.copytree(toy, tmp_path / "clips")
    (place / "0007.mp4").unlink()
    with pytest.raises(FilmError, match=r"0007\.mp4: no film of clip 0007_0 \(1 clips of this video\) in .*fetch it"):
        open_data(tiny_video(data=str(place)))
    open_data(tiny(data=str(place)))  # skeletons need none
    config = tiny_video(data=str(place), films=toy)
    assert open_data(config).films["0007"].parent.samefile(toy)
    with pytest.raises(FilmError, match="holds no films"):
        open_data(tiny_video(data=toy, films=str(tmp_path / "nowhere")))


# -- the simulator's films -------------------------------------------------------------------------------------------


def test_simulated_films_are_made_when_needed_and_leave_skeletons_alone(project, monkeypatch):
    small = SimulatorConfig(
        subjects=(1, 1, 1), videos_per_subject=1, clips=(3, 2, 2), min_clips=(0, 0, 0), fps=4.0, rgb_height=48
    )  # fmt: skip
    monkeypatch.setitem(PROFILES, "smoke", small)
    before = open_data(GestureConfig(profile="smoke"))
    root = data_path("simulator", "smoke")
    files = {p: (p.read_bytes(), p.stat().st_mtime_ns) for p in root.glob("imigue_skeleton_*/*/*")}
    with pytest.raises(FilmError, match="holds no films"):
        find_films(root)
    after = open_data(GestureConfig(profile="smoke", model="mvit"))
    assert after.fingerprint == before.fingerprint and after.films.keys() == set(after.whole.index["video"])
    assert files == {p: (p.read_bytes(), p.stat().st_mtime_ns) for p in root.glob("imigue_skeleton_*/*/*")}
    assert all(len(after.pixels[clip]) == 6 for clip in after.whole.index["clip_id"])
    times = [film.stat().st_mtime_ns for film in after.films.values()]
    assert [film.stat().st_mtime_ns for film in open_data(GestureConfig(profile="smoke", model="mvit")).films.values()] == times
