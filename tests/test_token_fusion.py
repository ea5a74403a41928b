"""Token fusion: attention, masks, positions, missing modalities, gradients, and problems that need both modalities."""

import math

import pytest
import token_cases as cases
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from migstudy.models import create_model
from migstudy.models.attention import MultiHeadAttention
from migstudy.models.fusion_network import PositionEmbeddings, drop_modalities, interpolation
from migstudy.models.token_fusion import CrossModalLayer, TokenFusion

EXACT = dict(rtol=0, atol=0)


def permuted(tokens, name, order):
    return {**tokens, name: tokens[name][:, order]}


# -- attention ---------------------------------------------------------------------------------------------------------


def attention_by_loops(layer, queries, context, valid):
    """One clip, one head, one query token at a time."""
    out = torch.zeros_like(queries)
    q, k, v = layer.query(queries), layer.key(context), layer.value(context)
    size = q.shape[-1] // layer.heads
    for n in range(len(queries)):
        for i in range(queries.shape[1]):
            for head in range(layer.heads):
                part = slice(head * size, (head + 1) * size)
                scores = {
                    j: math.exp(float(q[n, i, part] @ k[n, j, part]) / math.sqrt(size))
                    for j in range(context.shape[1]) if valid[n, j]
                }  # fmt: skip
                total = sum(scores.values())
                out[n, i, part] = sum(score / total * v[n, j, part] for j, score in scores.items())
    return layer.out(out)


@torch.no_grad()
def test_attention_is_what_the_loops_say():
    torch.manual_seed(0)
    layer = MultiHeadAttention(6, 3).double().eval()
    queries, context = torch.randn(2, 4, 6).double(), torch.randn(2, 5, 6).double()
    valid = torch.tensor([[1, 1, 0, 1, 1], [0, 0, 1, 0, 0]]).bool()
    expected = attention_by_loops(layer, queries, context, valid)
    torch.testing.assert_close(layer(queries, context, valid), expected, rtol=1e-12, atol=1e-12)


@torch.no_grad()
def test_both_directions_read_the_same_inputs():
    model, tokens = cases.build("token_fusion"), cases.batch()
    streams = {}
    model.fuse = lambda given, present: streams.update(given)
    model(tokens)
    layer = model.layers[0]
    fused = layer(streams)
    for name, other in (("rgb", "skeleton"), ("skeleton", "rgb")):
        mine, theirs = streams[name], streams[other]
        normed, context = layer.norm[name](mine.x), layer.norm[other](theirs.x)
        x = mine.x + attention_by_loops(layer.attention[name], normed, context, theirs.valid)
        torch.testing.assert_close(fused[name].x, x + layer.mlp[name](x), rtol=1e-10, atol=1e-10)


def test_heads_must_divide_the_width():
    with pytest.raises(ValueError, match="width 10 is not divisible by 4"):
        MultiHeadAttention(10, 4)


# -- the published outline ---------------------------------------------------------------------------------------------


def test_the_defaults_are_the_reconstruction_written_down():
    model = TokenFusion({"rgb": 768, "skeleton": 256})
    assert model.width == 256 and len(model.layers) == 2 and model.fc.out_features == 32
    for layer in model.layers:
        assert isinstance(layer, CrossModalLayer)
        for name in model.names:
            assert layer.attention[name].heads == 4 and layer.mlp[name][1].out_features == 512


@torch.no_grad()
def test_features_are_the_mean_over_places_then_steps_then_modalities():
    model, tokens = cases.build("token_fusion"), cases.batch()
    mask = {"rgb": torch.ones(3, 7).bool(), "skeleton": torch.ones(3, 8).bool()}
    mask["skeleton"][0, [1, 6, 7]] = False  # one joint of the first step, all of the last
    output = model(tokens, mask)
    rgb, skeleton = output.tokens[:, :7], output.tokens[:, 7:]
    expected = torch.stack([
        torch.stack([rgb[:, 0], rgb[:, 1:4].mean(1), rgb[:, 4:].mean(1)]).mean(0),
        skeleton.unflatten(1, (4, 2)).mean(2).mean(1),
    ])
    expected[1, 0] = torch.stack([skeleton[0, 0], skeleton[0, 2:4].mean(0), skeleton[0, 4:6].mean(0)]).mean(0)
    torch.testing.assert_close(output.features, expected.mean(0))
    torch.testing.assert_close(output.logits, model.fc(output.features) + model.memory(output.features))
    plain = cases.build("token_fusion", pooling="tokens")(tokens, mask)
    torch.testing.assert_close(plain.features[1:], plain.tokens[1:].mean(1))
    torch.testing.assert_close(plain.features[0], plain.tokens[0].sum(0) / 12)


@torch.no_grad()
@pytest.mark.parametrize("pooling", ["steps", "tokens"])
def test_the_mean_is_over_what_is_there(pooling):
    model, tokens = cases.build("token_fusion", pooling=pooling), cases.batch()
    output = model(tokens, None, {"rgb": torch.tensor([True, False, True])})
    assert not output.tokens[1, :7].any()
    torch.testing.assert_close(output.features[1], output.tokens[1, 7:].mean(0))  # and not of the absent token besides
    weights = []
    model.fuse = lambda streams, present: weights.append(model.pooling_weights(streams))
    model(tokens, None, {"rgb": torch.tensor([True, False, True])})
    torch.testing.assert_close(weights[0].sum(1), torch.ones(3).double())
    assert not weights[0][:, [0, 8]].any()


# -- gradients ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("missing", [False, True])
def test_gradients_are_right(missing):
    model = cases.build("token_fusion", width=4)
    tokens = {name: x.requires_grad_() for name, x in cases.batch(2).items()}
    mask = {"skeleton": torch.tensor([[1, 1, 1, 0, 1, 1, 0, 0], [1] * 8]).bool()}
    present = {"rgb": torch.tensor([True, not missing])}

    def forward(rgb, skeleton, *parameters):
        output = model({"rgb": rgb, "skeleton": skeleton}, mask, present)
        return output.logits, output.features, output.embedding

    assert torch.autograd.gradcheck(forward, (tokens["rgb"], tokens["skeleton"], *model.parameters()), fast_mode=True)
    assert torch.autograd.gradcheck(lambda rgb: forward(rgb, tokens["skeleton"]), (tokens["rgb"],))


def test_padded_and_missing_tokens_get_no_gradient():
    model, tokens = cases.build("token_fusion"), {k: x.requires_grad_() for k, x in cases.batch().items()}
    mask = torch.ones(3, 8).bool()
    mask[0, 4:] = False
    model(tokens, {"skeleton": mask}, {"rgb": torch.tensor([True, False, True])}).logits.square().sum().backward()
    touched = {name: x.grad.any(2) for name, x in tokens.items()}
    assert torch.equal(touched["skeleton"], mask)
    assert torch.equal(touched["rgb"].any(1), torch.tensor([True, False, True])) and touched["rgb"][[0, 2]].all()


# -- positions ---------------------------------------------------------------------------------------------------------


@torch.no_grad()
@pytest.mark.parametrize("name", ["rgb", "skeleton"])
def test_token_order_matters_with_positions_alone(name):
    tokens = cases.batch()
    order = torch.randperm(tokens[name].shape[1], generator=torch.Generator().manual_seed(0))
    ordered, unordered = cases.build("token_fusion"), cases.build("token_fusion", positions=False, grids=None)
    assert (ordered(permuted(tokens, name, order)).logits - ordered(tokens).logits).abs().max() > 1e-3
    expected = unordered(tokens).logits
    torch.testing.assert_close(unordered(permuted(tokens, name, order)).logits, expected, rtol=1e-10, atol=1e-10)


@torch.no_grad()
def test_positions_tell_time_and_place_apart():
    model, tokens = cases.build("token_fusion"), cases.batch()
    steps = tokens["skeleton"].unflatten(1, (4, 2))
    for other in (steps.flip(1), steps.flip(2)):
        changed = model({**tokens, "skeleton": other.flatten(1, 2)}).logits
        assert (changed - model(tokens).logits).abs().max() > 1e-3


def test_modalities_share_one_time_axis():
    positions = PositionEmbeddings(8, {"rgb": (2, 3), "skeleton": (4, 1), "face": (4, 1)}, ["rgb"])
    positions.reset_parameters()
    skeleton, rgb = positions("skeleton", 4), positions("rgb", 7)
    assert torch.equal(skeleton, positions.time) and torch.equal(skeleton, positions("face", 4))
    torch.testing.assert_close(rgb[0], positions.class_token["rgb"])
    time = rgb[1:].unflatten(0, (2, 3)) - positions.places["rgb"]  # a half of the clip: between its two quarters
    torch.testing.assert_close(time, positions.time.unflatten(0, (2, 2)).mean(1)[:, None].expand(-1, 3, -1))
    assert torch.equal(positions("rgb", 4), rgb[:4])  # fewer steps are the first ones


@given(st.integers(1, 12), st.integers(1, 12))
def test_time_is_interpolated_between_neighbours(steps, more):
    finest = steps + more - 1
    rows = interpolation(steps, finest)
    torch.testing.assert_close(rows.sum(1), torch.ones(steps))
    assert (rows >= 0).all() and ((rows > 0).sum(1) <= 2).all()
    middles = (torch.arange(finest) + 0.5) / finest
    torch.testing.assert_close(rows @ middles, (torch.arange(steps) + 0.5) / steps)


# -- missing modalities ------------------------------------------------------------------------------------------------


@given(st.integers(1, 40), st.integers(1, 4), st.floats(0, 0.99), st.integers(0, 2**31))
def test_modality_dropout_never_takes_the_last_one(n, modalities, chance, seed):
    generator = torch.Generator().manual_seed(seed)
    present = torch.rand(n, modalities, generator=generator) < 0.7
    kept = drop_modalities(present, chance, generator)
    assert not (kept & ~present).any()
    assert torch.equal(kept.any(1), present.any(1))
    again = torch.Generator().manual_seed(seed)
    torch.rand(n, modalities, generator=again)
    assert torch.equal(kept, drop_modalities(present, chance, again))


def test_modality_dropout_has_the_chance_it_says():
    present = torch.ones(200_000, 2).bool()
    kept = drop_modalities(present, 0.3, torch.Generator().manual_seed(0))
    lone = 0.3 * (1 - 0.3) + 0.3**2 / 2  # dropped alone, or of both dropped the one not brought back
    torch.testing.assert_close(kept.double().mean(0), torch.full((2,), 1 - lone).double(), rtol=0, atol=0.005)
    assert torch.equal(drop_modalities(present, 0.0), present)


def test_modality_dropout_is_for_training_and_follows_the_generator():
    model, tokens = cases.build("token_fusion", modality_dropout=0.6, dropout=0.0), cases.batch(16)
    run = lambda seed: model(tokens, generator=torch.Generator().manual_seed(seed)).logits
    torch.testing.assert_close(run(0), run(1), **EXACT)
    model.train()
    torch.testing.assert_close(run(0), run(0), **EXACT)
    assert not torch.equal(run(0), run(1))
    dropped = run(0)
    model.eval()
    candidates = [model(tokens), *(model({name: x}) for name, x in tokens.items())]
    matches = torch.stack([(dropped - candidate.logits).abs().amax(1) < 1e-9 for candidate in candidates])
    assert torch.equal(matches.sum(0), torch.ones(16).long()) and matches.any(1).all()  # each clip one of the three


@torch.no_grad()
@pytest.mark.parametrize("name", ["rgb", "skeleton"])
def test_an_absent_modality_is_never_looked_at(name):
    model, tokens = cases.build("token_fusion"), cases.batch()
    present = {name: torch.tensor([True, False, True])}
    reference, both = model(tokens, None, present).logits, model(tokens).logits
    other = {**tokens, name: tokens[name].clone()}
    other[name][1] = float("nan")
    torch.testing.assert_close(model(other, None, present).logits, reference, **EXACT)
    torch.testing.assert_close(reference[[0, 2]], both[[0, 2]])
    assert (reference[1] - both[1]).abs().max() > 1e-3
    rest = {k: x for k, x in tokens.items() if k != name}
    torch.testing.assert_close(model(rest).logits[1], reference[1])
    torch.testing.assert_close(model({**rest, name: tokens[name][:, :0]}).logits[1], reference[1])
    padded = torch.ones(tokens[name].shape[:2]).bool()
    padded[1] = False
    torch.testing.assert_close(model(tokens, {name: padded}).logits, reference)


# -- shapes ------------------------------------------------------------------------------------------------------------


@settings(max_examples=25)
@given(
    st.integers(1, 4), st.dictionaries(st.sampled_from(["rgb", "joint", "bone", "face"]), st.tuples(
        st.integers(1, 6), st.integers(1, 4), st.integers(1, 3)), min_size=2), st.booleans(), st.booleans(),
    st.sampled_from(["steps", "tokens"]), st.data(),
)  # fmt: skip
def test_any_modalities_of_any_shape(n, sizes, gridded, class_token, pooling, data):
    names = sorted(sizes)
    grids = {name: (steps, places) for name, (_, steps, places) in sizes.items()} if gridded else None
    model = create_model(
        "token_fusion", token_dims={name: dim for name, (dim, _, _) in sizes.items()}, num_classes=3, width=4, heads=2,
        grids=grids, class_tokens=names[:1] if class_token else [], pooling=pooling,
    ).double().eval()  # fmt: skip
    tokens, mask, present = {}, {}, {}
    for name, (dim, steps, places) in sizes.items():
        length = data.draw(st.integers(1, steps)) * places + (class_token and name == names[0])
        tokens[name] = torch.randn(n, length, dim).double()
        mask[name] = torch.tensor(data.draw(st.lists(st.lists(st.booleans(), min_size=length, max_size=length),
                                                     min_size=n, max_size=n)))  # fmt: skip
        present[name] = torch.tensor(data.draw(st.lists(st.booleans(), min_size=n, max_size=n)))
    mask[names[0]][:, 0], present[names[0]][:] = True, True
    output = model(tokens, mask, present)
    assert output.logits.shape == (n, 3) and output.features.shape == (n, 4)
    assert output.tokens.shape == (n, sum(x.shape[1] for x in tokens.values()), 4)
    assert all(torch.isfinite(x).all() for x in output[:3])
    noise = {
        name: torch.where((mask[name] & present[name][:, None])[..., None], x, torch.randn_like(x) * 1e6)
        for name, x in tokens.items()
    }
    torch.testing.assert_close(model(noise, mask, present).logits, output.logits, **EXACT)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (dict(tokens={"face": torch.zeros(3, 2, 2)}), "unknown modality 'face'; this model knows rgb, skeleton"),
        (dict(tokens={}), "no tokens"),
        (dict(skeleton=torch.zeros(3, 8, 6)), r"skeleton tokens \(3, 8, 6\); expected \(3, L, 5\)"),
        (dict(skeleton=torch.zeros(2, 8, 5)), r"skeleton tokens \(2, 8, 5\); expected \(3, L, 5\)"),
        (dict(skeleton=torch.zeros(3, 7, 5)), "7 skeleton tokens do not fit a grid of up to 4 steps x 2 places"),
        (dict(skeleton=torch.zeros(3, 10, 5)), "10 skeleton tokens do not fit"),
        (dict(mask={"rgb": torch.ones(3, 7)}), r"rgb: mask or present is torch.float32 \(3, 7\); expected torch.bool"),
        (dict(mask={"rgb": torch.ones(3, 6).bool()}), r"expected torch.bool \(3, 7\)"),
        (dict(present={"rgb": torch.ones(2).bool()}), r"expected torch.bool \(3,\)"),
        (dict(present={k: torch.tensor([True, True, False]) for k in ("rgb", "skeleton")}), "clip 2 of the batch has no"),
    ],
)
def test_inputs_that_do_not_fit_are_named(change, message):
    inputs = {"tokens": cases.batch(dtype=torch.float32), **{k: v for k, v in change.items() if k != "skeleton"}}
    if "skeleton" in change:
        inputs["tokens"]["skeleton"] = change["skeleton"]
    with pytest.raises(ValueError, match=message):
        cases.build("token_fusion").float()(**inputs)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (dict(token_dims={"rgb": 3}, grids=None), "needs two modalities or more, got rgb alone"),
        (dict(token_dims={}), "name at least one modality"),
        (dict(token_dims={"rgb.left": 3, "rgb": 3}), "in letters, digits and _"),
        (dict(grids={"face": (3, 1)}), "grids or class_tokens name 'face', token_dims only rgb, skeleton"),
        (dict(class_tokens=["face"]), "name 'face'"),
        (dict(pooling="max"), "unknown pooling 'max'"),
        (dict(modality_dropout=1.0), r"modality_dropout 1.0 must be in \[0, 1\)"),
    ],
)
def test_settings_that_do_not_fit_are_named(changes, message):
    with pytest.raises(ValueError, match=message):
        create_model("token_fusion", **{**cases.SMALL, **changes})


# -- what it can learn -------------------------------------------------------------------------------------------------


def test_tokens_of_the_same_moment_find_each_other():
    torch.manual_seed(0)
    train, test = (cases.sign_at_the_marked_moment(n, seed) for n, seed in ((4096, 0), (1000, 1)))
    model = create_model(
        "token_fusion", token_dims={"rgb": 6, "skeleton": 6}, num_classes=2, width=24, heads=2, dropout=0.0,
        modality_dropout=0.0, grids=cases.MOMENT_GRIDS,
    )  # fmt: skip
    cases.learn(model, *train, steps=450, lr=5e-3)
    log_loss, accuracy = cases.measure(model, *test)
    assert accuracy > 0.9 and log_loss < 0.3  # the majority of the four signs alone would give 0.69


def test_modality_dropout_makes_a_missing_modality_bearable():
    """Each modality alone tells the class, both tell it better; trained without dropout, one alone is misread."""

    def clips(n, seed):
        generator = torch.Generator().manual_seed(seed)
        labels = torch.randint(0, 3, (n,), generator=generator)
        signal = torch.nn.functional.one_hot(labels, 3).float()[:, None]
        return {k: signal + 1.2 * torch.randn(n, 4, 3, generator=generator) for k in ("rgb", "skeleton")}, labels

    train, test = clips(2048, 0), clips(1000, 1)
    losses = {}
    for chance in (0.0, 0.4):
        torch.manual_seed(0)
        model = create_model(
            "token_fusion", token_dims={"rgb": 3, "skeleton": 3}, num_classes=3, width=16, heads=2, dropout=0.0,
            modality_dropout=chance,
        )  # fmt: skip
        cases.learn(model, *train, steps=150)
        losses[chance] = [cases.measure(model, {k: x}, test[1])[0] for k, x in test[0].items()]
        losses[chance].append(cases.measure(model, *test)[0])
    assert max(losses[0.4]) < math.log(3) and losses[0.4][2] < min(losses[0.4][:2])
    assert max(losses[0.4][:2]) < min(losses[0.0][:2])
