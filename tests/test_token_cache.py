"""The token store: what was appended is read back by clip id, after any kill, and never from another encoder."""

import inspect
import pickle
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from migstudy import token_cache
from migstudy.clips import Clip, ClipSet
from migstudy.encoder import Encoder
from migstudy.models import get_model_class
from migstudy.models.mvit import MViT
from migstudy.token_cache import TokenStore, describe_encoder, extract_tokens, store_folder
from migstudy.video.rgb import RgbClips, RgbSpec
from migstudy.video.tokens import rgb_tokens

ENCODER = Encoder("MViT", "w", "c", "d", "s")
SHAPE = (3, 4)


def tokens_of(ids, shape=SHAPE):
    """Tokens that follow from the clip's id alone."""
    return np.stack([np.random.default_rng(list(clip_id.encode())).normal(size=shape) for clip_id in ids]).astype(np.float32)


def filled(folder, ids, batch=2, dtype="float32"):
    with TokenStore.create(folder, ENCODER, SHAPE, dtype) as store:
        for i in range(0, len(ids), batch):
            store.append(ids[i : i + batch], tokens_of(ids[i : i + batch]))
        return store.finish()


IDS = [f"{video:04d}_{row}" for video in (3, 1) for row in range(4)]
names = st.lists(st.text(min_size=1, max_size=12), min_size=1, max_size=12, unique=True)


# -- keeping and reading -----------------------------------------------------------------------------------------------


@settings(max_examples=40)
@given(ids=names, batch=st.integers(1, 5), dtype=st.sampled_from(["float32", "float16"]), data=st.data())
def test_what_was_appended_is_read_in_any_order(ids, batch, dtype, data):
    with tempfile.TemporaryDirectory() as folder:
        filled(folder, ids, batch, dtype)
        store = TokenStore.open(folder, ENCODER)
        asked = data.draw(st.lists(st.sampled_from(ids), max_size=8))
        expected = tokens_of(asked).astype(dtype) if asked else np.zeros((0, *SHAPE))
        batch = store.batch(asked)
        assert batch.dtype == np.float32 and np.array_equal(batch, expected)
        assert list(store) == ids and len(store) == len(ids) and store.missing([*ids, "no such clip"]) == ["no such clip"]
        store.verify()


def test_the_order_of_writing_changes_nothing_that_is_read(tmp_path):
    first, second = filled(tmp_path / "a", IDS), filled(tmp_path / "b", IDS[::-1], batch=3)
    assert np.array_equal(first.batch(IDS), second.batch(IDS))


def test_tokens_are_memory_mapped_and_travel_to_workers_as_a_path(tmp_path):
    store = filled(tmp_path, IDS)
    assert isinstance(store["0001_2"], np.memmap) and not store["0001_2"].flags.writeable
    sent = pickle.dumps(store)
    assert len(sent) < 2000
    assert np.array_equal(pickle.loads(sent)["0001_2"], tokens_of(["0001_2"])[0])


def test_float16_halves_the_room_and_refuses_what_it_cannot_hold(tmp_path):
    single, half = filled(tmp_path / "a", IDS), filled(tmp_path / "b", IDS, dtype="float16")
    sizes = [(store.folder / "tokens.bin").stat().st_size for store in (single, half)]
    assert sizes == [8 * 12 * 4, 8 * 12 * 2]
    np.testing.assert_allclose(half.batch(IDS), single.batch(IDS), rtol=5e-4, atol=1e-6)
    with TokenStore.create(tmp_path / "c", ENCODER, SHAPE, "float16") as store:
        large = tokens_of(IDS[:2])
        large[1, 0, 0] = 1e5
        with pytest.raises(ValueError, match="clip '0003_1' has tokens that are not finite in float16"):
            store.append(IDS[:2], large)
        assert len(store) == 0 and store.missing(IDS) == IDS


@pytest.mark.parametrize(
    ("ids", "tokens", "message"),
    [
        (["0003_0"], tokens_of(["x"]), "clip '0003_0' is there already"),
        (["new", "new"], tokens_of(["x", "y"]), "clip 'new' is there already"),
        (["new"], tokens_of(["x", "y"]), r"1 clips of \(3, 4\) tokens expected, got \(2, 3, 4\)"),
        (["new"], np.zeros((1, 4, 3)), r"got \(1, 4, 3\)"),
        (["new"], np.full((1, 3, 4), np.nan), "clip 'new' has tokens that are not finite"),
    ],
)
def test_a_batch_with_a_fault_is_refused_whole(tmp_path, ids, tokens, message):
    with TokenStore.create(tmp_path, ENCODER, SHAPE) as store:
        store.append(IDS[:2], tokens_of(IDS[:2]))
        with pytest.raises(ValueError, match=message):
            store.append(ids, tokens)
        store.finish()
    assert list(TokenStore.open(tmp_path)) == IDS[:2]


def test_a_missing_clip_is_named(tmp_path):
    store = filled(tmp_path, IDS)
    with pytest.raises(KeyError, match="no tokens of clip '0009_9' among the 8"):
        store.batch(["0001_0", "0009_9"])


# -- kills -------------------------------------------------------------------------------------------------------------


@settings(max_examples=30)
@given(data=st.data(), batch=st.integers(1, 4))
def test_a_store_cut_anywhere_goes_on_to_the_same_tokens(data, batch):
    with tempfile.TemporaryDirectory() as folder:
        filled(folder, IDS, batch)
        folder = Path(folder)
        (folder / "DONE").unlink()
        for name in ("tokens.bin", "clips.jsonl"):
            content = (folder / name).read_bytes()
            (folder / name).write_bytes(content[: data.draw(st.integers(0, len(content)))])
        with pytest.raises(ValueError, match="never finished"):
            TokenStore.open(folder)
        with TokenStore.resume(folder, ENCODER, SHAPE) as store:
            left = store.missing(IDS)
            assert list(store) == IDS[: len(IDS) - len(left)]
            store.append(left, tokens_of(left) if left else np.zeros((0, *SHAPE)))
            store.finish()
        opened = TokenStore.open(folder, ENCODER)
        opened.verify()
        assert np.array_equal(opened.batch(IDS), tokens_of(IDS))


WRITER = """
import numpy as np
from migstudy.encoder import Encoder
from migstudy.token_cache import TokenStore
SHAPE = {shape}
{tokens_of}
store = TokenStore.resume({folder!r}, {encoder!r}, SHAPE)
for i in range(100_000):
    ids = [f"clip {{i}} {{j}}" for j in range(3)]
    store.append(ids, tokens_of(ids))
    if i == 5:
        print("going", flush=True)
"""


def test_a_killed_writer_leaves_whole_clips_and_no_claim(tmp_path):
    code = WRITER.format(
        shape=SHAPE, tokens_of=inspect.getsource(tokens_of), folder=str(tmp_path), encoder=ENCODER
    )
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "going\n"
    with pytest.raises(RuntimeError, match="another process writes tokens here"):
        TokenStore.resume(tmp_path, ENCODER, SHAPE)
    time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    with TokenStore.resume(tmp_path, ENCODER, SHAPE) as store:
        assert len(store) >= 18
        store.verify()
        assert np.array_equal(store.batch(store), tokens_of(store))


def test_who_lost_the_store_to_another_writes_no_more(tmp_path):
    with TokenStore.create(tmp_path, ENCODER, SHAPE) as store:
        store.append(IDS[:3], tokens_of(IDS[:3]))
        (tmp_path / "claim.1").write_text("{}")  # it stood still for minutes, and somebody took over
        before = (tmp_path / "tokens.bin").stat().st_size
        with pytest.raises(RuntimeError, match="taken over by another process"):
            store.append(IDS[3:6], tokens_of(IDS[3:6]))
        assert (tmp_path / "tokens.bin").stat().st_size == before


def test_a_write_that_fails_half_way_leaves_the_store_usable(tmp_path, monkeypatch):
    with TokenStore.create(tmp_path, ENCODER, SHAPE) as store:
        store.append(IDS[:3], tokens_of(IDS[:3]))
        write = token_cache._write

        def full(path, content):
            write(path, content[: len(content) // 2])
            raise OSError("no space left on device")

        monkeypatch.setattr(token_cache, "_write", full)
        with pytest.raises(OSError, match="no space left"):
            store.append(IDS[3:6], tokens_of(IDS[3:6]))
        monkeypatch.undo()
        left = store.missing(IDS)
        store.append(left, tokens_of(left))
        store.finish()
    assert np.array_equal(TokenStore.open(tmp_path).batch(IDS), tokens_of(IDS))


def test_damage_is_found(tmp_path):
    filled(tmp_path, IDS)
    content = bytearray((tmp_path / "tokens.bin").read_bytes())
    content[5 * 48 + 7] ^= 1
    (tmp_path / "tokens.bin").write_bytes(content)
    with pytest.raises(ValueError, match=r"tokens of 1 clips have changed on disk \(0001_1\)"):
        TokenStore.open(tmp_path).verify()
    (tmp_path / "tokens.bin").write_bytes(content[:-1])
    with pytest.raises(ValueError, match="is damaged"):
        TokenStore.open(tmp_path)
    (tmp_path / "store.json").write_text("{")
    with pytest.raises(ValueError, match=r"store\.json cannot be read"):
        TokenStore.open(tmp_path)


# -- whose tokens ------------------------------------------------------------------------------------------------------


def test_a_store_of_another_encoder_is_refused_with_what_differs(tmp_path):
    filled(tmp_path, IDS)
    other = Encoder("MViT", "w2", "c", "d", "s2")
    for opening in (lambda: TokenStore.open(tmp_path, other), lambda: TokenStore.resume(tmp_path, other, SHAPE)):
        with pytest.raises(ValueError, match=r"another encoder \(its weights, its sampling differ\); delete the folder"):
            opening()
    with pytest.raises(ValueError, match=r"holds tokens \(3, 4\) float32, not \(3, 5\) float32"):
        TokenStore.resume(tmp_path, ENCODER, (3, 5))
    assert np.array_equal(TokenStore.open(tmp_path, ENCODER).batch(IDS), tokens_of(IDS))  # none of it did harm


def test_stores_are_made_opened_and_closed_at_the_right_time(tmp_path):
    with pytest.raises(FileNotFoundError, match="holds no token store; extract"):
        TokenStore.open(tmp_path / "nowhere")
    store = filled(tmp_path / "a", IDS)
    with pytest.raises(FileExistsError, match="holds a token store already"):
        TokenStore.create(tmp_path / "a", ENCODER, SHAPE)
    for write in (lambda: store.append(["x"], tokens_of(["x"])), store.finish):
        with pytest.raises(ValueError, match="open for reading"):
            write()
    with pytest.raises(ValueError, match=r"\(L, C\) and float32 or float16"):
        TokenStore.create(tmp_path / "b", ENCODER, SHAPE, "int8")
    assert not (tmp_path / "b").exists()


def tiny(seed=0, **changes):
    torch.manual_seed(seed)
    config = {"num_classes": 5, "frames": 4, "size": 16, "base_channels": 8, "num_blocks": 2, "downscale_blocks": (1,)}
    return MViT(**{**config, **changes})


def test_the_hash_knows_weights_configuration_data_and_sampling_and_nothing_else(tmp_path):
    model = tiny()
    base = describe_encoder(model, "data", {"clip_len": 4, "size": (16, 16)})
    model.save_pretrained(tmp_path)
    loaded = get_model_class("mvit").from_pretrained(tmp_path)
    same = describe_encoder(loaded.to(memory_format=torch.channels_last_3d), "data", {"size": [16, 16], "clip_len": 4})
    assert same == base and same.hash == base.hash
    with torch.no_grad():
        loaded.norm.bias[0] += 1e-6
    others = {
        "weights": describe_encoder(loaded, "data", {"clip_len": 4, "size": (16, 16)}),
        "data": describe_encoder(model, "other data", {"clip_len": 4, "size": (16, 16)}),
        "sampling": describe_encoder(model, "data", {"clip_len": 8, "size": (16, 16)}),
        "config": describe_encoder(tiny(kv_stride=2), "data", {"clip_len": 4, "size": (16, 16)}),
    }
    for part, other in others.items():
        assert part in base.differences(other) and other.hash != base.hash
    assert base.differences(others["weights"]) == ["weights"]
    assert len({store_folder(e, d) for e in (base, *others.values()) for d in ("float16", "float32")}) == 10


# -- extraction --------------------------------------------------------------------------------------------------------


def inputs_of(ids):
    rng = {clip_id: torch.Generator().manual_seed(i) for i, clip_id in enumerate(IDS)}
    return torch.stack([torch.rand(3, 4, 16, 16, generator=rng[clip_id]) for clip_id in ids])


def in_batches(ids, size):
    for i in range(0, len(ids), size):
        yield ids[i : i + size], inputs_of(ids[i : i + size])


def test_extraction_gives_the_models_tokens_by_clip(tmp_path):
    model = tiny(dropout=0.9, drop_path=0.5).train()
    with TokenStore.create(tmp_path, ENCODER, (1 + 2 * 2 * 2, 16)) as store:
        store = extract_tokens(model, in_batches(IDS[::-1], 3), store, progress=False)
    assert model.training
    with torch.inference_mode():
        expected = model.eval()(inputs_of(IDS)).tokens
    np.testing.assert_allclose(TokenStore.open(tmp_path).batch(IDS), expected, atol=1e-5)
    assert list(store) == IDS[::-1]


def test_an_interrupted_extraction_encodes_no_clip_twice(tmp_path):
    model, seen = tiny().eval(), []
    model.register_forward_hook(lambda module, inputs, output: seen.append(len(inputs[0])))

    def broken():
        yield from list(in_batches(IDS, 2))[:2]
        raise KeyboardInterrupt

    shape = (9, 16)
    with pytest.raises(KeyboardInterrupt), TokenStore.create(tmp_path, ENCODER, shape) as store:
        extract_tokens(model, broken(), store, progress=False)
    with TokenStore.resume(tmp_path, ENCODER, shape) as store:
        extract_tokens(model, in_batches(IDS, 3), store, progress=False)  # a loader that starts over
    assert sum(seen) == len(IDS)
    with torch.inference_mode():
        np.testing.assert_allclose(TokenStore.open(tmp_path).batch(IDS), model(inputs_of(IDS)).tokens, atol=1e-5)


@pytest.fixture
def recorded(tmp_path):
    """Clips and their pixels as `open_rgb_clips` leaves them: 6 frames of 20 px."""
    pixels = np.random.default_rng(0).integers(0, 256, (len(IDS), 6, 20, 20, 3), np.uint8)
    np.save(tmp_path / "pack.npy", pixels)
    spec = RgbSpec(frames=6, size=20)
    clips = [Clip(clip_id, np.ones((5, 17, 2)), np.ones((5, 17))) for clip_id in IDS]
    clipset = ClipSet.from_clips(clips, "coco17", ["a"], 25, "test")
    return clipset, RgbClips({clip_id: (tmp_path / "pack.npy", i) for i, clip_id in enumerate(IDS)}, spec)


def test_rgb_tokens_are_extracted_once_and_then_opened(recorded, tmp_path):
    clips, pixels = recorded
    model, seen = tiny(), []
    model.register_forward_hook(lambda module, inputs, output: seen.append(len(inputs[0])))
    options = dict(clip_len=4, size=16, batch_size=3, cache=tmp_path / "cache", progress=False)
    some = rgb_tokens(model, clips.select(clip_id=IDS[2:5]), pixels, dtype="float32", **options)
    assert sum(seen) == 3 + 1  # one empty clip tells the shape
    store = rgb_tokens(model, clips, pixels, dtype="float32", **options)
    assert store.folder == some.folder and sum(seen) == len(IDS) + 2 and store.shape == (9, 16)
    again = rgb_tokens(model, clips, pixels, dtype="float32", **options)
    assert sum(seen) == len(IDS) + 2 and np.array_equal(again.batch(IDS), store.batch(IDS))
    half = rgb_tokens(model, clips, pixels, **options)
    assert half.folder != store.folder
    np.testing.assert_allclose(half.batch(IDS), store.batch(IDS), rtol=1e-3, atol=1e-3)
    with torch.no_grad():
        model.norm.bias += 1
    assert not np.allclose(rgb_tokens(model, clips, pixels, dtype="float32", **options).batch(IDS), store.batch(IDS))


def test_shuffled_clips_get_their_own_tokens(recorded, tmp_path):
    clips, pixels = recorded
    order = np.random.default_rng(1).permutation(len(IDS))
    shuffled = ClipSet.from_clips([clips[int(i)] for i in order], "coco17", ["a"], 25, "test")
    model, options = tiny(), dict(clip_len=4, size=16, progress=False)
    first = rgb_tokens(model, clips, pixels, cache=tmp_path / "a", **options)
    second = rgb_tokens(model, shuffled, pixels, cache=tmp_path / "b", batch_size=3, **options)
    assert list(first) != list(second)
    np.testing.assert_allclose(first.batch(IDS), second.batch(IDS), atol=2e-3)
    assert first.encoder == second.encoder
