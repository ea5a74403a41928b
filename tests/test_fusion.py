import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize

from migstudy.evaluate import evaluate
from migstudy.fusion.late import PRESETS, fuse, learn_weights
from migstudy.scores import get_probabilities, make_scores


def stream(skill, seed, n=120, classes=6, split="val"):
    labels = np.random.default_rng(0).integers(0, classes, n)
    logits = np.random.default_rng([1, seed]).normal(size=(n, classes)) + skill * np.eye(classes)[labels]
    probabilities = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    index = pd.DataFrame({"clip_id": [f"{i // 9:04d}_{i % 9}" for i in range(n)], "video": "v", "subject": "s", "split": split})
    return make_scores(index.assign(label=labels), probabilities, [f"g{i}" for i in range(classes)])


def both(**kw):
    return {"joint": stream(1.0, 1, **kw), "limb": stream(1.5, 2, **kw)}


def test_preset_is_the_published_weighting_by_clip():
    tables = both()
    fused = fuse(tables, "miga2023")
    for clip in ("0003_4", "0000_0", "0012_8"):
        rows = [tables[k].set_index("clip_id").loc[clip].filter(regex=r"p\d+").to_numpy(float) for k in ("joint", "limb")]
        expected = 0.4 * rows[0] + 0.6 * rows[1]
        assert np.allclose(fused.set_index("clip_id").loc[clip].filter(regex=r"p\d+").to_numpy(float), expected, atol=1e-6)
    assert PRESETS["miga2023"] == {"joint": 0.4, "limb": 0.6}
    assert fused.attrs["class_names"] == tables["joint"].attrs["class_names"]


@settings(deadline=None, max_examples=20)
@given(st.randoms(use_true_random=False), st.floats(0, 1))
def test_order_of_rows_and_streams_changes_nothing(random, share):
    tables, weights = both(n=40), {"joint": share, "limb": 1 - share}
    expected = fuse(tables, weights)
    shuffled = {}
    for name in random.sample(sorted(tables), 2):
        order = list(range(40))
        random.shuffle(order)
        shuffled[name] = tables[name].iloc[order]
    fused = fuse(shuffled, weights)
    assert list(fused["clip_id"]) == list(expected["clip_id"]) and list(fused["label"]) == list(expected["label"])
    assert np.allclose(get_probabilities(fused), get_probabilities(expected), atol=1e-7)
    learned = learn_weights(shuffled).weights
    assert np.allclose([learned[k] for k in tables], list(learn_weights(tables).weights.values()), atol=1e-3)


def test_streams_in_different_order_do_not_ruin_each_other():
    tables = both(n=600)
    good = evaluate(fuse(tables), intervals=False)["top1"]
    tables["limb"] = tables["limb"].iloc[::-1].reset_index(drop=True)
    assert evaluate(fuse(tables), intervals=False)["top1"] == good > max(evaluate(t, intervals=False)["top1"] for t in both(n=600).values())


def test_one_stream_alone_and_sequences():
    tables = both()
    alone = fuse(tables, {"joint": 1, "limb": 0})
    assert np.allclose(get_probabilities(alone), get_probabilities(tables["joint"]), atol=1e-7)
    as_list = fuse(list(tables.values()), [0.4, 0.6])
    assert np.array_equal(get_probabilities(as_list), get_probabilities(fuse(tables, "miga2023")))


@pytest.mark.parametrize("skills", [(1.0, 1.5), (0.0, 2.0), (1.0, 1.0, 1.0), (0.3, 1.0, 2.0, 0.0)])
def test_learned_weights_are_the_optimum_of_log_loss(skills):
    tables = {f"s{i}": stream(skill, i, n=300) for i, skill in enumerate(skills)}
    learned = learn_weights(tables)
    w = np.array(list(learned.weights.values()))
    assert np.isclose(w.sum(), 1) and (w >= 0).all() and learned.n_clips == 300
    labels = tables["s0"]["label"].to_numpy()
    p = np.stack([get_probabilities(t)[np.arange(300), labels].astype(float) for t in tables.values()], 1)
    k = len(skills)
    best = minimize(
        lambda w: -np.log(p @ w).mean(), np.full(k, 1 / k), bounds=[(0, 1)] * k, method="SLSQP", options={"ftol": 1e-12},
        constraints={"type": "eq", "fun": lambda w: w.sum() - 1},
    )  # fmt: skip
    assert abs(learned.log_loss - best.fun) < 1.1e-5
    assert np.isclose(evaluate(fuse(tables, learned.weights), intervals=False)["log_loss"], learned.log_loss, atol=1e-5)
    assert learned.log_loss <= min(learned.log_loss_equal, *learned.log_loss_alone.values()) + 1e-5


def test_a_useless_stream_gets_next_to_nothing():
    weights = learn_weights({"good": stream(3.0, 1, n=500), "noise": stream(0.0, 2, n=500)}).weights
    assert weights["noise"] < 0.15


def test_identical_streams_and_certain_mistakes_do_not_break_learning():
    a = stream(1.0, 1)
    assert learn_weights({"a": a, "b": a}).weights == {"a": 0.5, "b": 0.5}
    wrong = a.copy()
    columns = [c for c in wrong.columns if c[0] == "p" and c[1:].isdigit()]
    wrong[columns] = np.eye(6, dtype=np.float32)[(wrong["label"] + 1) % 6]
    learned = learn_weights({"a": a, "wrong": wrong})
    assert learned.weights["wrong"] < 0.01 and np.isfinite(learned.log_loss)


def test_two_streams_that_hardly_differ_are_settled_in_time():
    a = stream(1.0, 1, n=777)
    p = get_probabilities(a).astype(np.float64)
    worse = make_scores(a, p * (1 - 3e-5) + 3e-5 / 6)
    learned = learn_weights({"a": a, "worse": worse})
    assert learned.log_loss - min(learned.log_loss_alone.values()) <= 1e-5


def test_learning_on_test_clips_is_refused():
    tables = both(split="test")
    for split in ("val", "test"):
        with pytest.raises(ValueError, match="'joint': clip 0000_0 is of split 'test' .120 such clips.*validation"):
            learn_weights(tables, split=split)
    one = both()
    one["limb"].loc[17, "split"] = "test"
    with pytest.raises(ValueError, match="'limb': clip 0001_8 is of split 'test' .1 such"):
        learn_weights(one)
    with pytest.raises(ValueError, match="of split 'train'"):
        learn_weights(both(split="train"))
    learn_weights(both(split="dev"), split="dev")
    with pytest.raises(ValueError, match="have no label"):
        learn_weights({k: t.assign(label=-1) for k, t in both().items()})


def test_tables_that_do_not_belong_together_are_refused():
    tables = both()
    with pytest.raises(ValueError, match="of different clips: 1 only in 'joint'"):
        fuse({**tables, "limb": tables["limb"].iloc[1:]})
    with pytest.raises(ValueError, match="give clip 0000_0 the labels"):
        fuse({**tables, "limb": tables["limb"].assign(label=lambda t: (t["label"] + 1) % 6)})
    with pytest.raises(ValueError, match="'joint' have 6 classes, 'limb' 5"):
        fuse({**tables, "limb": stream(1, 3, classes=5)})
    with pytest.raises(ValueError, match="another split"):
        fuse({**tables, "limb": tables["limb"].assign(split="test")})


@pytest.mark.parametrize(
    "weights, message",
    [
        ("miga2024", "unknown weights"),
        ({"joint": 1.0}, "name them alike"),
        ({"joint": 0.7, "limb": 0.7}, "sum to 1"),
        ({"joint": 1.5, "limb": -0.5}, ">= 0"),
        ({"joint": np.nan, "limb": 1.0}, ">= 0"),
        ([1.0], "1 weights for 2 streams"),
    ],
)
def test_weights_that_do_not_fit_are_refused(weights, message):
    with pytest.raises(ValueError, match=message):
        fuse(both(), weights)


def test_presets_need_their_streams():
    with pytest.raises(ValueError, match="name them alike"):
        fuse({"joint": stream(1, 1), "bone": stream(1, 2)}, "miga2023")
    with pytest.raises(ValueError, match="no score tables"):
        fuse({})
