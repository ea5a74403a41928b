"""Every fusion model under one contract, and what each baseline is and is not able to do."""

import pytest
import token_cases as cases
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from migstudy.encoder import Encoder
from migstudy.models import ModelOutput, create_model, get_model_class
from migstudy.models.fusion_baselines import SingleModality
from migstudy.token_cache import TokenStore

NAMES = sorted(cases.FUSION)
ALONE = ("single_modality", "attention_mil")  # look at one modality
EXACT = dict(rtol=0, atol=0)
CLOSE = dict(rtol=1e-9, atol=1e-9)


# -- one contract ------------------------------------------------------------------------------------------------------


@torch.no_grad()
@pytest.mark.parametrize("name", NAMES)
def test_forward_gives_the_promised_shapes(name):
    output = cases.build(name)(cases.batch())
    assert isinstance(output, ModelOutput)
    assert output.logits.shape == (3, 4) and output.features.shape == (3, 8) and output.embedding.shape == (3, 3)
    assert output.tokens.shape == (3, 7 if name in ALONE else 15, 8)


@torch.no_grad()
@pytest.mark.parametrize("name", NAMES)
def test_three_modalities_work_as_two_do(name):
    dims, lengths = {"rgb": 7, "skeleton": 5, "face": 4}, (4, 7, 8)
    model = cases.build(name, token_dims=dims, grids={**cases.GRIDS, "face": (4, 1)})
    tokens = cases.batch(dims=dims, lengths=lengths)
    output = model(tokens)
    assert output.logits.shape == (3, 4)
    present = {"skeleton": torch.tensor([True, False, True]), "face": torch.tensor([False, True, True])}
    assert torch.isfinite(model(tokens, None, present).logits).all()
    if name not in ALONE:
        for other in dims:
            changed = model({**tokens, other: tokens[other].flip(0)}).logits
            assert (changed - output.logits).abs().max() > 1e-6, other


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("dropped", [False, True])
def test_every_parameter_gets_a_gradient(name, dropped):
    model = cases.build(name)
    # an absence has to occur for its token to matter; a modality that never occurs is no one's to learn from
    present = {"rgb": torch.tensor([True, True, not dropped]), "skeleton": torch.tensor([not dropped, True, True])}
    output = model(cases.batch(), None, present)
    heads = (output.logits, output.features, output.embedding, output.tokens.mean(1))
    sum((head * torch.linspace(-1, 1, head.shape[1])).square().sum() for head in heads).backward()
    assert not any(p.grad is None for p in model.parameters())  # DDP would wait for it
    silent = {key for key, p in model.named_parameters() if not p.grad.abs().max() > 1e-12}
    assert silent == (set() if dropped else {key for key in dict(model.named_parameters()) if key.startswith("absent.")})


@torch.no_grad()
@pytest.mark.parametrize("name", NAMES)
def test_permuting_clips_permutes_outputs_and_nothing_else(name):
    model, tokens, order = cases.build(name), cases.batch(5), torch.tensor([3, 0, 4, 1, 2])
    mask = {"skeleton": torch.rand(5, 8, generator=torch.Generator().manual_seed(0)) < 0.6}
    mask["skeleton"][:, 0] = True
    present = {"rgb": torch.tensor([True, False, True, True, True])}
    output = model(tokens, mask, present)
    permuted = model(*({k: v[order] for k, v in given.items()} for given in (tokens, mask, present)))
    for ours, theirs in zip(output[:4], permuted[:4], strict=True):
        torch.testing.assert_close(theirs, ours[order], **CLOSE)
    alone = model(*({k: v[2:3] for k, v in given.items()} for given in (tokens, mask, present)))
    torch.testing.assert_close(alone.logits, output.logits[2:3], **CLOSE)


@torch.no_grad()
@settings(max_examples=15)
@given(st.sampled_from(NAMES), st.integers(0, 2**31), st.sampled_from([float("nan"), float("inf"), 1e9]))
def test_what_padding_holds_is_never_looked_at(name, seed, junk):
    model, tokens = cases.build(name), cases.batch()
    generator = torch.Generator().manual_seed(seed)
    mask = {k: torch.rand(x.shape[:2], generator=generator) < 0.6 for k, x in tokens.items()}
    mask["rgb"][:, 0] = True
    filled = {k: x.masked_fill(~mask[k][..., None], junk) for k, x in tokens.items()}
    for ours, theirs in zip(model(tokens, mask), model(filled, mask), strict=True):
        torch.testing.assert_close(theirs, ours, **EXACT)


@torch.no_grad()
@pytest.mark.parametrize("name", NAMES)
def test_more_padding_changes_nothing(name):
    model, tokens = cases.build(name), cases.batch()
    short = {"rgb": tokens["rgb"][:, :4], "skeleton": tokens["skeleton"][:, :6]}
    mask = {"rgb": torch.arange(7).expand(3, -1) < 4, "skeleton": torch.arange(8).expand(3, -1) < 6}
    torch.testing.assert_close(model(tokens, mask).logits, model(short).logits, **CLOSE)
    assert not torch.allclose(model(tokens).logits, model(short).logits)


@torch.no_grad()
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("modality", ["rgb", "skeleton"])
def test_an_absent_modality_is_never_looked_at(name, modality):
    model, tokens = cases.build(name), cases.batch()
    present = {modality: torch.tensor([True, False, True])}
    reference = model(tokens, None, present).logits
    changed = {**tokens, modality: tokens[modality].clone()}
    changed[modality][1] = float("nan")
    torch.testing.assert_close(model(changed, None, present).logits, reference, **EXACT)
    rest = {k: x for k, x in tokens.items() if k != modality}
    torch.testing.assert_close(model(rest).logits[1], reference[1], **CLOSE)


@torch.no_grad()
@pytest.mark.parametrize("name", NAMES)
def test_without_positions_tokens_are_a_set(name):
    tokens, order = cases.batch(), torch.randperm(7, generator=torch.Generator().manual_seed(0))
    permuted = {**tokens, "rgb": tokens["rgb"][:, order]}
    unordered = cases.build(name, positions=False, grids=None)
    torch.testing.assert_close(unordered(permuted).logits, unordered(tokens).logits, **CLOSE)
    ordered = cases.build(name)
    assert (ordered(permuted).logits - ordered(tokens).logits).abs().max() > 1e-3


@pytest.mark.parametrize("name", NAMES)
def test_gradients_are_right(name):
    model, tokens = cases.build(name, width=4), {k: x.requires_grad_() for k, x in cases.batch(2).items()}
    present = {"rgb": torch.tensor([True, False])}
    forward = lambda rgb, skeleton, *parameters: model({"rgb": rgb, "skeleton": skeleton}, None, present)[:2]
    assert torch.autograd.gradcheck(forward, (tokens["rgb"], tokens["skeleton"], *model.parameters()), fast_mode=True)


@pytest.mark.parametrize("name", NAMES)
def test_weights_and_configuration_survive_the_disk(name, tmp_path):
    dims = {"skeleton": 5, "rgb": 7}  # stored in another order than given
    model = cases.build(name, token_dims=dims, depth=1, heads=4, pooling="tokens").float()
    tokens = cases.batch(dtype=torch.float32)
    model.save_pretrained(tmp_path)
    loaded = get_model_class(name).from_pretrained(tmp_path)
    assert not loaded.training and loaded.pooling == "tokens"
    with torch.inference_mode():
        torch.testing.assert_close(loaded(tokens).logits, model(tokens).logits, **EXACT)


@pytest.mark.parametrize("name", NAMES)
def test_the_order_of_modalities_is_irrelevant(name):
    one, two = (cases.build(name, token_dims=dict(pairs)) for pairs in (cases.DIMS.items(), [*cases.DIMS.items()][::-1]))
    assert all(torch.equal(value, two.state_dict()[key]) for key, value in one.state_dict().items())
    tokens = cases.batch()
    with torch.inference_mode():
        reverse = dict([*tokens.items()][::-1])
        torch.testing.assert_close(one(tokens).logits, two(reverse).logits, **EXACT)


@pytest.mark.parametrize("name", NAMES)
def test_autocast_and_full_precision_agree(name):
    model, tokens = cases.build(name).float(), cases.batch(dtype=torch.float32)
    mask = {"skeleton": torch.arange(8).expand(3, -1) < 6}
    with torch.inference_mode():
        reference = model(tokens, mask, {"rgb": torch.tensor([True, False, True])}).logits
        with torch.autocast("cpu", torch.bfloat16):
            half = model(tokens, mask, {"rgb": torch.tensor([True, False, True])}).logits
    torch.testing.assert_close(half.float(), reference, rtol=0.1, atol=0.3)


@torch.no_grad()
@pytest.mark.parametrize("name", NAMES)
def test_the_order_of_clips_on_disk_changes_no_score(name, tmp_path):
    model, tokens, ids = cases.build(name), cases.batch(6), [f"0054_{i}" for i in range(6)]
    scores = []
    for orders in ((range(6), range(6)), (range(6), (4, 2, 0, 5, 1, 3))):
        read = {}
        for (modality, x), order in zip(tokens.items(), orders, strict=True):
            encoder = Encoder(modality, "w", "c", "d", "s")
            with TokenStore.create(tmp_path / f"{len(scores)}_{modality}", encoder, x.shape[1:]) as store:
                store.append([ids[i] for i in order], x[list(order)].numpy())
                read[modality] = torch.from_numpy(store.finish().batch(ids)).double()
        scores.append(model(read).logits)
    torch.testing.assert_close(scores[1], scores[0], **EXACT)
    assert len(scores[0].unique(dim=0)) == 6


# -- what each baseline is ---------------------------------------------------------------------------------------------


@torch.no_grad()
@pytest.mark.parametrize("modality", ["rgb", "skeleton"])
def test_a_single_modality_sees_nothing_else(modality):
    model, tokens = cases.build("single_modality", modality=modality), cases.batch()
    output = model(tokens)
    torch.testing.assert_close(model({modality: tokens[modality]}).logits, output.logits, **EXACT)
    for other in {*tokens} - {modality}:
        changed = {**tokens, other: torch.full_like(tokens[other], float("nan"))}
        torch.testing.assert_close(model(changed).logits, output.logits, **EXACT)
        blind = model({other: tokens[other]})  # a clip without it: the classifier's bias
        torch.testing.assert_close(blind.logits, model.fc.bias.expand(3, -1))
    with pytest.raises(ValueError, match="unknown modality 'face'; this model knows"):
        model({**tokens, "face": tokens["rgb"]})
    with pytest.raises(ValueError, match="unknown modality 'face'; token_dims has rgb, skeleton"):
        SingleModality(cases.DIMS, "face")


@torch.no_grad()
def test_late_fusion_averages_the_logits_at_hand():
    tokens = cases.batch()
    for weights in ("mean", "learned"):
        model = cases.build("late_fusion", weights=weights, memory=False)
        alone = [model({name: tokens[name]}).logits for name in model.names]
        shares = torch.tensor([0.5, 0.5]) if weights == "mean" else model.log_share.softmax(0)
        expected = shares[0] * alone[0] + shares[1] * alone[1]
        output = model(tokens)
        torch.testing.assert_close(output.logits, expected)
        mixed = model(tokens, None, {"skeleton": torch.tensor([True, False, True])}).logits
        torch.testing.assert_close(mixed, torch.stack([expected[0], alone[0][1], expected[2]]))
    assert abs(shares[0].item() - 0.5) > 0.01  # learned shares that were equal would have tested nothing
    with pytest.raises(ValueError, match="unknown weights 'max'"):
        create_model("late_fusion", **{**cases.SMALL, "weights": "max"})


@torch.no_grad()
def test_gates_are_a_convex_combination_of_what_is_at_hand():
    model, tokens = cases.build("gated_fusion"), cases.batch()
    values = {}
    for name in model.names:
        model.value[name].register_forward_hook(lambda _, __, out, name=name: values.update({name: out.tanh()}))
    features = model(tokens).features
    low, high = torch.minimum(*values.values()), torch.maximum(*values.values())
    assert ((features > low) & (features < high)).all()
    for name in model.names:
        torch.testing.assert_close(model({name: tokens[name]}).features, values[name])


@torch.no_grad()
def test_encoders_may_be_left_out():
    model, tokens = cases.build("concatenation", depth=0, positions=False, grids=None), cases.batch()
    x = [model.encoder[n].norm(model.norm[n](model.projection[n](tokens[n])) + model.modality[n]) for n in model.names]
    torch.testing.assert_close(model(tokens).features, model.mix(torch.cat([tokens.mean(1) for tokens in x], dim=1)))


def test_the_joint_transformer_crosses_every_pair_of_streams():
    model = cases.build("joint_transformer", token_dims={"rgb": 7, "skeleton": 5, "face": 4})
    assert set(model.cross) == {f"{a}_{b}" for a in range(4) for b in range(4) if a != b}


@pytest.mark.parametrize("name", NAMES)
def test_a_problem_that_needs_both_modalities(name):
    torch.manual_seed(0)
    train, test = cases.xor_of_two_tokens(2048, seed=0), cases.xor_of_two_tokens(1000, seed=1)
    model = create_model(
        name, token_dims={"rgb": 6, "skeleton": 6}, num_classes=2, width=16, heads=2, dropout=0.0, modality_dropout=0.0,
        **cases.FUSION[name],
    )  # fmt: skip
    cases.learn(model, *train, lr=5e-3)
    log_loss, accuracy = cases.measure(model, *test)
    if name in (*ALONE, "late_fusion"):  # chance: log 2 and 1/2
        assert log_loss > 0.67 and accuracy < 0.6
    else:
        assert log_loss < 0.2 and accuracy > 0.95
