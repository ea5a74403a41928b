from collections import namedtuple

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from migstudy.losses import GestureLoss, class_weights, embedding_contrastive, embedding_cosine, embedding_mse

Output = namedtuple("Output", "logits embedding")
KINDS = ["mse", "cosine", "contrastive"]


def _case(seed=0, n=5, c=7, d=6, dtype=torch.float64):
    g = torch.Generator().manual_seed(seed)
    draw = lambda *shape: torch.randn(*shape, generator=g, dtype=dtype)
    return Output(draw(n, c), draw(n, d)), draw(c, d), torch.randint(0, c, (n,), generator=g)


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_are_right(kind):
    output, vectors, labels = _case()
    loss = GestureLoss(kind, vectors, label_smoothing=0.1, class_weights=class_weights([5, 1, 2, 9, 3, 0, 4]))
    inputs = tuple(t.clone().requires_grad_() for t in output)
    assert torch.autograd.gradcheck(lambda a, b: loss(Output(a, b), labels)[0], inputs)


@pytest.mark.parametrize("kind", KINDS)
def test_total_is_cross_entropy_plus_weighted_part(kind):
    output, vectors, labels = _case(1)
    total, parts = GestureLoss(kind, vectors, weight=3.5)(output, labels)
    expected = F.cross_entropy(output.logits, labels)
    assert torch.allclose(parts["cross_entropy"], expected, atol=1e-12)
    assert torch.allclose(total, expected + 3.5 * parts["label_embedding"], atol=1e-12)
    assert not parts["label_embedding"].requires_grad


def test_losses_match_plain_formulas():
    output, vectors, labels = _case(2)
    e, v, y = output.embedding.numpy(), vectors.numpy(), labels.numpy()
    assert np.isclose(embedding_mse(output.embedding, vectors, labels), ((e - v[y]) ** 2).sum() / e.size)
    unit = lambda a: a / np.linalg.norm(a, axis=1, keepdims=True)
    cosines = unit(e) @ unit(v).T
    own = cosines[np.arange(len(y)), y]
    assert np.isclose(embedding_cosine(output.embedding, vectors, labels), (1 - own).mean())
    expected = (np.log(np.exp(cosines / 0.2).sum(1)) - own / 0.2).mean()
    assert np.isclose(embedding_contrastive(output.embedding, vectors, labels, temperature=0.2), expected)


@pytest.mark.parametrize("group", ["fixedbn", "trainbn"])
def test_mse_form_equals_the_2023_winner(fixtures_dir, group):
    with np.load(fixtures_dir / "posec3d_small_c22_miga.npz", allow_pickle=False) as f:
        logits, emb = (torch.from_numpy(f[f"{group}/{k}"]).double() for k in ("logits", "emb"))
        target, labels = torch.from_numpy(f["emb_target"]).double(), torch.from_numpy(f["label"])
        expected = float(f[f"{group}/loss"])
    vectors = torch.zeros(32, 300, dtype=torch.float64)
    vectors[labels] = target
    total, parts = GestureLoss("mse", vectors)(Output(logits, emb), labels)
    # logits and embedding were stored as float32
    assert abs(float(total) - expected) < 1e-5
    assert float(parts["label_embedding"]) > 0.5


def test_descent_on_the_projection_finds_the_class_vectors():
    _, vectors, labels = _case(3, n=12)
    for kind in KINDS:
        loss = GestureLoss(kind, vectors)
        embedding = torch.randn(12, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(9)).requires_grad_()
        logits = torch.zeros(12, 7, dtype=torch.float64)
        optimizer = torch.optim.Adam([embedding], lr=0.1)
        for _ in range(200):
            optimizer.zero_grad()
            loss(Output(logits, embedding), labels)[0].backward()
            optimizer.step()
        cosines = F.normalize(embedding, dim=1) @ F.normalize(vectors, dim=1).T
        assert (cosines.argmax(1) == labels).all(), kind


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.floats(0.1, 50))
def test_cosine_and_contrastive_ignore_length(seed, scale):
    output, vectors, labels = _case(seed)
    for function in (embedding_cosine, embedding_contrastive):
        a = function(output.embedding, vectors, labels)
        assert torch.allclose(a, function(output.embedding * scale, vectors / scale, labels), atol=1e-9)
    assert 0 <= embedding_cosine(output.embedding, vectors, labels) <= 2


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(0, 4000), min_size=2, max_size=40).filter(any), st.floats(0, 1))
def test_class_weights_average_to_one_over_the_clips(counts, power):
    weights = class_weights(counts, power).numpy()
    assert np.isclose((weights * counts).sum() / np.sum(counts), 1, rtol=1e-4)
    order = np.argsort(counts)
    assert (np.diff(weights[order]) <= 1e-6 * weights.max()).all()


def test_uniform_weights_change_nothing_and_balanced_ones_do():
    output, _, labels = _case(4)
    plain = GestureLoss()(output, labels)[0]
    assert torch.allclose(plain, GestureLoss(class_weights=class_weights([3] * 7))(output, labels)[0])
    assert not torch.allclose(plain, GestureLoss(class_weights=class_weights([1, 9, 9, 1, 1, 5, 2], 1.0))(output, labels)[0])


def test_half_precision_embeddings_are_compared_in_float32():
    output, vectors, labels = _case(5, dtype=torch.float32)
    half = Output(output.logits, output.embedding.bfloat16())
    total, _ = GestureLoss("mse", vectors)(half, labels)
    assert total.dtype == torch.float32
    exact = F.mse_loss(half.embedding.float(), vectors[labels])
    assert torch.isclose(GestureLoss("mse", vectors)(half, labels)[1]["label_embedding"], exact)


def test_settings_stay_out_of_checkpoints_and_follow_the_module():
    loss = GestureLoss("cosine", np.eye(4, 3, dtype=np.float32) + 0.1, class_weights=[1, 2, 3, 4])
    assert loss.state_dict() == {}
    assert {name for name, _ in loss.named_buffers()} == {"label_vectors", "class_weights"}
    assert loss.embedding_dim == 3 and GestureLoss().embedding_dim is None


def test_clear_errors():
    output, vectors, labels = _case()
    with pytest.raises(ValueError, match="choose one of"):
        GestureLoss("l1", vectors)
    with pytest.raises(ValueError, match="needs label_vectors"):
        GestureLoss("mse")
    with pytest.raises(ValueError, match="no embedding"):
        GestureLoss("mse", vectors)(Output(output.logits, None), labels)
    with pytest.raises(ValueError, match="width 5"):
        GestureLoss("mse", vectors)(Output(output.logits, output.embedding[:, :5]), labels)
    with pytest.raises(ValueError, match="7 classes, label_vectors are"):
        GestureLoss("mse", vectors[:6])(output, labels)
    with pytest.raises(ValueError, match="clip 2 of the batch has label -1"):
        GestureLoss()(output, torch.tensor([0, 1, -1, 2, 3]))
    with pytest.raises(ValueError, match="class counts"):
        class_weights([0, 0])
