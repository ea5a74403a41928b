"""The memory of class prototypes: its average, its gradients, what counts as training, and what it adds to the logits."""

import subprocess
import sys

import pytest
import token_cases as cases
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn.functional import cosine_similarity, cross_entropy

from migstudy.losses import GestureLoss
from migstudy.models import ModelOutput
from migstudy.models.memory import MemoryLoss, MemoryRefinement


def training_memory(classes=4, width=3, **options):
    return MemoryRefinement(classes, width, **options).double().train()


def features_of(n, width=3, seed=0):
    return torch.randn(n, width, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def update(memory, features, labels):
    memory.observe(features, labels)
    memory.step()


# -- the average -------------------------------------------------------------------------------------------------------


@given(st.lists(st.lists(st.integers(0, 3), min_size=1, max_size=6), min_size=1, max_size=8), st.floats(0, 0.999))
def test_the_bank_is_the_closed_form_of_the_average(batches, momentum):
    memory = training_memory(momentum=momentum)
    means = {label: [] for label in range(4)}
    for i, labels in enumerate(batches):
        labels, features = torch.tensor(labels), features_of(len(labels), seed=i)
        update(memory, features, labels)
        for label in set(labels.tolist()):
            means[label].append(features[labels == label].mean(0))
    for label, seen in means.items():
        assert bool(memory.filled[label]) == bool(seen)
        weights = torch.tensor([momentum ** (len(seen) - 1 - i) for i in range(len(seen))], dtype=torch.float64)
        expected = (weights[:, None] * torch.stack(seen)).sum(0) / weights.sum() if seen else torch.zeros(3).double()
        torch.testing.assert_close(memory.bank[label], expected, rtol=1e-9, atol=1e-9)


def test_in_the_long_run_it_is_the_plain_moving_average():
    memory, plain = training_memory(1, 2, momentum=0.9), torch.zeros(2).double()
    for i in range(400):
        features = features_of(3, 2, seed=i) + 1
        update(memory, features, torch.zeros(3).long())
        plain = 0.9 * plain + 0.1 * features.mean(0)
    torch.testing.assert_close(memory.bank[0], plain, rtol=1e-9, atol=1e-9)
    assert memory.mass[0].item() == pytest.approx(1 / (1 - 0.9))


@given(st.integers(1, 5))
def test_accumulated_batches_count_as_one(parts):
    features, labels = features_of(12), torch.arange(12) % 3
    whole, split = training_memory(), training_memory()
    for memory in (whole, split):
        update(memory, features_of(8, seed=1), torch.arange(8) % 4)
    update(whole, features, labels)
    before = split.bank.clone()
    for rows in torch.arange(12).chunk(parts):
        split.observe(features[rows], labels[rows])
    assert torch.equal(split.bank, before)  # only a step moves it
    split.step()
    torch.testing.assert_close(split.bank, whole.bank)
    torch.testing.assert_close(split.mass, whole.mass)
    moved = split.bank.clone()
    split.step()  # nothing new: nothing moves
    assert torch.equal(split.bank, moved)


def test_order_in_the_batch_is_irrelevant():
    features, labels, order = features_of(12), torch.arange(12) % 3, torch.arange(12).flip(0)
    first, second = training_memory(), training_memory()
    update(first, features, labels)
    update(second, features[order], labels[order])
    torch.testing.assert_close(first.bank, second.bank)


WORKER = """
import sys, torch
from torch import distributed
from migstudy.models.memory import MemoryRefinement
torch.set_num_threads(1)
rank, folder = int(sys.argv[1]), sys.argv[2]
distributed.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
memory = MemoryRefinement(4, 3, momentum=0.5).double().train()
features, labels = torch.load(f"{folder}/batches.pt", weights_only=True)
for step in range(3):
    mine = slice(rank, None, 2)
    if step < 2 or rank == 0:  # the last step finds process 1 without a batch
        memory.observe(features[step, mine], labels[step, mine])
    memory.step()
torch.save({"bank": memory.bank, "mass": memory.mass}, f"{folder}/{rank}.pt")
distributed.barrier()
distributed.destroy_process_group()
"""


def test_processes_share_one_bank(tmp_path):
    features, labels = features_of(30).unflatten(0, (3, 10)), torch.arange(30).remainder(4).unflatten(0, (3, 10))
    torch.save((features, labels), tmp_path / "batches.pt")
    started = [subprocess.Popen([sys.executable, "-c", WORKER, str(rank), str(tmp_path)]) for rank in range(2)]
    assert [process.wait(timeout=120) for process in started] == [0, 0]
    alone = training_memory(momentum=0.5)
    for step in range(3):
        rows = slice(None) if step < 2 else slice(0, None, 2)
        update(alone, features[step, rows], labels[step, rows])
    for rank in range(2):
        theirs = torch.load(tmp_path / f"{rank}.pt", weights_only=True)
        torch.testing.assert_close(theirs["bank"], alone.bank)
        torch.testing.assert_close(theirs["mass"], alone.mass)


# -- only in training, only with labels --------------------------------------------------------------------------------


def test_eval_never_writes():
    memory = training_memory().eval()
    with pytest.raises(RuntimeError, match="training batches only"):
        memory.observe(features_of(2), torch.tensor([0, 1]))
    memory(features_of(2))
    assert not memory.filled.any()


def test_clips_without_label_are_passed_over():
    memory, reference = training_memory(), training_memory()
    features, labels = features_of(6), torch.tensor([0, -1, 2, 2, -1, 0])
    update(memory, features, labels)
    update(reference, features[labels >= 0], labels[labels >= 0])
    torch.testing.assert_close(memory.bank, reference.bank)
    update(memory, features, torch.full((6,), -1))
    torch.testing.assert_close(memory.bank, reference.bank)


def test_a_label_beyond_the_bank_is_named():
    with pytest.raises(ValueError, match="clip 1 of the batch has label 9, the bank 4 classes"):
        training_memory().observe(features_of(3), torch.tensor([0, 9, 1]))


def test_forward_alone_leaves_the_bank_as_it_is():
    model, tokens = cases.build("token_fusion").train(), cases.batch()
    before = {key: value.clone() for key, value in model.memory.state_dict().items()}
    model(tokens).logits.sum().backward()
    assert all(torch.equal(value, before[key]) for key, value in model.memory.state_dict().items())


@pytest.mark.parametrize(("options", "message"), [(dict(momentum=1.0), "momentum 1.0"), (dict(tau=0.0), "tau 0.0 > 0")])
def test_settings_that_do_not_fit_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        MemoryRefinement(3, 2, **options)


# -- logits and loss ---------------------------------------------------------------------------------------------------


def test_logits_gain_tau_times_the_cosine():
    memory, features = training_memory(tau=3.0), features_of(5)
    update(memory, features_of(6, seed=1), torch.tensor([0, 1, 1, 3, 3, 0]))
    expected = 3.0 * cosine_similarity(features[:, None], memory.bank[None], dim=2)
    torch.testing.assert_close(memory(features), expected)
    torch.testing.assert_close(memory(features * 100), expected)  # direction alone
    assert not memory(features)[:, 2].any()  # class 2 has no prototype yet


def test_an_empty_bank_changes_nothing():
    model, tokens = cases.build("token_fusion"), cases.batch()
    model.memory.bank.zero_(), model.memory.mass.zero_()
    output = model(tokens)
    torch.testing.assert_close(output.logits, model.fc(output.features), rtol=0, atol=0)
    labels = torch.tensor([0, 1, 2])
    loss = model.memory.loss(output.features, labels)
    assert loss.item() == 0
    loss.backward()  # a batch of the first step must pass as well


def loss_by_loops(memory, features, labels, margin):
    terms = []
    for feature, label in zip(features, labels.tolist(), strict=True):
        if label < 0 or not memory.filled[label]:
            continue
        cosine = lambda c: float(cosine_similarity(feature, memory.bank[c], dim=0))
        others = [max(0.0, cosine(c) - margin) for c in range(len(memory.bank)) if c != label and memory.filled[c]]
        terms.append(1 - cosine(label) + (sum(others) / len(others) if others else 0.0))
    return sum(terms) / len(terms) if terms else 0.0


@given(st.lists(st.integers(-1, 3), min_size=1, max_size=8), st.sets(st.integers(0, 3)), st.sampled_from([0.0, 0.3]))
def test_the_loss_pulls_to_the_own_and_pushes_from_the_others(labels, filled, margin):
    memory, labels = training_memory(), torch.tensor(labels)
    if filled:
        update(memory, features_of(len(filled), seed=1), torch.tensor(sorted(filled)))
    features = features_of(len(labels))
    assert float(memory.loss(features, labels, margin)) == pytest.approx(loss_by_loops(memory, features, labels, margin))


def test_gradients_are_right():
    memory = training_memory()
    update(memory, features_of(6, seed=1), torch.tensor([0, 1, 1, 3, 3, 0]))
    features, labels = features_of(5).requires_grad_(), torch.tensor([0, 1, 2, 3, -1])
    forward = lambda x, log_tau: torch.func.functional_call(memory, {"log_tau": log_tau}, (x,))
    assert torch.autograd.gradcheck(forward, (features, memory.log_tau))
    assert torch.autograd.gradcheck(lambda x: memory.loss(x, labels, margin=0.1), (features,))
    gradient, = torch.autograd.grad(memory.loss(features, labels), features)
    assert gradient[[0, 1, 3]].any(1).all() and not gradient[[2, 4]].any()  # no prototype, no label


def test_the_loss_joins_another_criterion():
    memory = training_memory()
    update(memory, features_of(4, seed=1), torch.arange(4))
    output = ModelOutput(features_of(5, 4, seed=2), features_of(5), torch.empty(5, 0, 3))
    labels = torch.tensor([0, 1, 2, 3, 0])
    total, parts = MemoryLoss(GestureLoss(), memory, weight=0.5, margin=0.2)(output, labels)
    expected = memory.loss(output.features, labels, 0.2)
    torch.testing.assert_close(total, cross_entropy(output.logits, labels) + 0.5 * expected)
    assert set(parts) == {"cross_entropy", "memory"}
    torch.testing.assert_close(parts["memory"], expected)
    assert not list(MemoryLoss(GestureLoss(), memory).parameters())  # tau stays the model's


def test_half_precision_features_are_compared_in_full():
    memory = MemoryRefinement(3, 16).train()
    update(memory, torch.randn(3, 16), torch.arange(3))
    features = torch.randn(4, 16)
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(memory(features), memory.log_tau.exp() * memory.cosines(features))
        assert memory.cosines(features.bfloat16()).dtype == torch.float32
    torch.testing.assert_close(memory.cosines(features), cosine_similarity(features[:, None], memory.bank[None], dim=2))


def test_the_bank_is_saved_with_the_model(tmp_path):
    model, tokens = cases.build("token_fusion").float().train(), cases.batch(dtype=torch.float32)
    update(model.memory, model(tokens).features, torch.tensor([0, 1, 3]))
    model.eval().save_pretrained(tmp_path)
    loaded = type(model).from_pretrained(tmp_path)
    assert torch.equal(loaded.memory.bank, model.memory.bank) and torch.equal(loaded.memory.mass, model.memory.mass)
    torch.testing.assert_close(loaded(tokens).logits, model(tokens).logits)


def test_pull_and_push_separate_the_classes():
    """On noisy clusters, features trained with the loss lie closer to their own prototype and farther from the others."""
    generator = torch.Generator().manual_seed(0)
    centers, labels = torch.randn(5, 8, generator=generator), torch.arange(500) % 5
    inputs = centers[labels] + torch.randn(500, 8, generator=generator)
    gaps = {}
    for weight in (0.0, 1.0):
        torch.manual_seed(0)
        encoder, memory = torch.nn.Linear(8, 8), MemoryRefinement(5, 8, momentum=0.9).train()
        optimizer = torch.optim.SGD(encoder.parameters(), 0.1)
        for _ in range(60):
            features = encoder(inputs)
            (weight * memory.loss(features, labels)).backward()
            optimizer.step(), optimizer.zero_grad()
            update(memory, features, labels)
        cosines = memory.cosines(encoder(inputs)).detach()
        own = torch.nn.functional.one_hot(labels, 5).bool()
        gaps[weight] = (cosines[own].mean() - cosines[~own].mean()).item()
    assert gaps[1.0] > gaps[0.0] + 0.2
