"""What the graph networks promise alike: any skeleton, any number of people, tokens, weights on disk."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from random_topologies import topologies
from torch.nn import functional as F

from migstudy.models import create_model, get_model_class
from migstudy.skeletons import get_topology, list_topologies, make_topology

NAMES = ["agcn", "ctrgcn", "stgcn"]


def small(name, topology="coco17", in_channels=2, people=1, seed=0, **config):
    torch.manual_seed(seed)
    config = {"num_classes": 5, "base_channels": 8, "stage_blocks": (1, 1), **config}
    if name == "agcn":
        config["num_people"] = people
    return create_model(name, topology=topology, in_channels=in_channels, **config)


def stirred(model, seed=1):
    """Every parameter and running statistic off its initial value, float64, eval mode."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for value in model.state_dict().values():
            if value.is_floating_point():
                value.add_(0.2 * torch.rand(value.shape, generator=generator))
    return model.double().eval()


def clip(joints=17, channels=2, people=1, frames=6, count=2, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, channels, frames, joints, people, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=15)
@given(
    topology=topologies(), channels=st.integers(1, 4), frames=st.integers(1, 9), people=st.integers(1, 3),
    embedding=st.sampled_from([None, 4]),
)  # fmt: skip
def test_any_skeleton_any_length(name, topology, channels, frames, people, embedding):
    model = small(name, topology, channels, people, embedding_dim=embedding)
    output = model.eval()(clip(topology.num_joints, channels, people, frames).float())
    kept = -(-frames // 2)
    assert output.logits.shape == (2, 5) and output.features.shape == (2, 16)
    assert output.tokens.shape == (2, kept * topology.num_joints, 16)
    assert model.frame_tokens(output.tokens).shape == (2, kept, 16)
    assert (output.embedding is None) == (embedding is None)
    assert all(torch.isfinite(part).all() for part in output if part is not None)


@pytest.mark.parametrize("topology", list_topologies())
@pytest.mark.parametrize("name", NAMES)
def test_every_topology_of_the_house(name, topology):
    joints = get_topology(topology).num_joints
    assert small(name, topology).train()(clip(joints, frames=4).float()).logits.shape == (2, 5)


@pytest.mark.parametrize("name", NAMES)
def test_tokens_are_what_the_features_are_the_mean_of(name):
    model = stirred(small(name, people=2))
    output = model(clip(people=2))
    torch.testing.assert_close(output.features, output.tokens.mean(1))
    torch.testing.assert_close(output.features, model.frame_tokens(output.tokens).mean(1))
    torch.testing.assert_close(output.logits, model.classify(output.features))
    # time-major: what happens in the last frame is told by later tokens
    x = clip(people=2, frames=64)
    y = x.clone()
    y[:, :, -1] += 1
    if name == "stgcn":  # the other two compare joints over the whole clip
        changed = (model(x).tokens - model(y).tokens).abs().sum((0, 2)) > 1e-12
        assert not changed[: 20 * 17].any() and changed[-17:].all()


@pytest.mark.parametrize("name", NAMES)
def test_joints_have_no_order(name):
    """A skeleton with its joints renamed, with the weights that belong to joints moved along, gives the same clip."""
    whole = get_topology("coco17")
    order = torch.randperm(17, generator=torch.Generator().manual_seed(5)).tolist()
    place = {old: new for new, old in enumerate(order)}
    renamed = make_topology(
        "renamed", [whole.joints[i] for i in order], [(place[a], place[b]) for a, b in whole.edges],
        [(place[i], place[m]) for i, m in enumerate(whole.mirror) if i < m], place[whole.center], register=False,
    )  # fmt: skip
    model, other = stirred(small(name, people=2)), small(name, renamed, people=2).double().eval()
    state = model.state_dict()
    for key, value in state.items():
        if key.startswith("data_bn") and value.ndim:
            state[key] = value.view(-1, 17, 2)[:, order].flatten()
        elif value.ndim == 3 and value.shape[1:] == (17, 17):
            state[key] = value[:, order][:, :, order]
    other.load_state_dict(state)
    if name == "agcn":  # its fixed adjacency is no part of the state: the renamed skeleton brings it
        torch.testing.assert_close(other.l1.gcn1.A, model.l1.gcn1.A[:, order][:, :, order])
    x = clip(people=2)
    ours, theirs = model(x), other(x[:, :, :, order])
    torch.testing.assert_close(theirs.logits, ours.logits)
    tokens = ours.tokens.unflatten(1, (-1, 17))[:, :, order].flatten(1, 2)
    torch.testing.assert_close(theirs.tokens, tokens)


@pytest.mark.parametrize("name", NAMES)
def test_absent_people_can_be_left_out(name):
    counted, left_out = stirred(small(name, people=2)), stirred(small(name, people=2, skip_absent=True))
    left_out.load_state_dict(counted.state_dict())
    x = clip(people=2)
    torch.testing.assert_close(left_out(x).logits, counted(x).logits)
    x[0, ..., 1] = 0
    both, one = counted(x), left_out(x)
    assert not torch.allclose(both.logits[0], one.logits[0])
    torch.testing.assert_close(both.logits[1], one.logits[1])
    # the present person's map alone
    maps = left_out.encode(x).unflatten(0, (2, 2))
    torch.testing.assert_close(one.features[0], maps[0, 0].mean((1, 2)))
    torch.testing.assert_close(both.features[0], maps[0].mean((0, 2, 3)))
    if name != "agcn":  # people share statistics, so nobody beside is the same as an absent one
        torch.testing.assert_close(left_out(x[:1, ..., :1]).logits, one.logits[:1])
    x[0] = 0
    nobody = left_out(x)
    assert not nobody.features[0].any() and torch.isfinite(nobody.logits).all()


@pytest.mark.parametrize("name", NAMES)
def test_a_missing_joint_is_one_value_among_others(name):
    """Missing joints are zeros: they change the answer, and change it to something finite."""
    model, x = stirred(small(name)), clip()
    gone = x.clone()
    gone[:, :, :, 5] = 0
    assert not torch.allclose(model(gone).logits, model(x).logits)
    assert all(torch.isfinite(part).all() for part in model(torch.zeros_like(x)) if part is not None)


@pytest.mark.parametrize("name", NAMES)
def test_every_parameter_gets_a_gradient(name):
    model = stirred(small(name, people=2, embedding_dim=3))
    output = model(clip(people=2, frames=8))
    loss = F.cross_entropy(output.logits, torch.tensor([0, 3])) + output.embedding.square().sum()
    loss.backward()
    silent = {key for key, p in model.named_parameters() if p.grad is None or p.grad.abs().max() < 1e-12}
    # 2s-AGCN adds theta's bias to every source joint alike, and the softmax takes it out again
    assert all(".conv_a." in key and key.endswith("bias") for key in silent)
    assert name == "agcn" or not silent


@pytest.mark.parametrize("name", NAMES)
def test_one_person_needs_no_axis(name):
    model, x = stirred(small(name)), clip()
    torch.testing.assert_close(model(x[..., 0]).logits, model(x).logits, rtol=0, atol=0)


@pytest.mark.parametrize("name", NAMES)
def test_what_does_not_fit_is_named(name):
    model = small(name)
    for wrong in (clip(16), clip(channels=3), clip()[0, ..., 0]):
        with pytest.raises(ValueError, match=r"coordinates are .*'coco17' takes \(N, 2, T, 17, .*graph_input"):
            model(wrong)
    with pytest.raises(ValueError, match="must be odd"):
        small(name, temporal_kernel=4)


@pytest.mark.parametrize("given_as", ["object", "dict"])
@pytest.mark.parametrize("name", NAMES)
def test_a_saved_model_brings_its_skeleton(name, given_as, tmp_path):
    """A user's own topology, registered nowhere, comes back from the disk."""
    own = make_topology("stick", ["head", "left", "right"], [(0, 1), (0, 2)], [(1, 2)], register=False)
    model = small(name, own if given_as == "object" else own.to_dict())
    model.train()(clip(3).float())
    model.save_pretrained(tmp_path)
    loaded = get_model_class(name).from_pretrained(tmp_path)
    assert loaded.topology == own
    x = clip(3).float()
    torch.testing.assert_close(loaded(x).logits, model.eval()(x).logits, rtol=0, atol=0)


@pytest.mark.parametrize("name", NAMES)
def test_another_label_set_starts_from_a_trained_network(name):
    head = "fcn." if name == "stgcn" else "fc."
    trained, model = small(name, seed=3, num_classes=9), small(name)
    model.load_published_weights(trained.state_dict(), skip=(head,))
    theirs = trained.state_dict()
    for key, value in model.state_dict().items():
        assert key.startswith(head) or torch.equal(value, theirs[key])


@pytest.mark.parametrize("name", ["agcn", "ctrgcn"])  # ST-GCN's dropout is inside its units
def test_the_embedding_is_read_before_the_dropout(name):
    model = small(name, embedding_dim=3, dropout=0.8).train()
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm1d | torch.nn.BatchNorm2d):
            module.eval()
    first, second = model(clip().float()), model(clip().float())
    torch.testing.assert_close(first.embedding, second.embedding, rtol=0, atol=0)
    assert not torch.allclose(first.logits, second.logits)
