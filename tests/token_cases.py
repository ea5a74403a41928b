"""Small fusion models, token batches for them, and planted problems that need more than one modality."""

from __future__ import annotations

import torch

from migstudy.models import create_model

DIMS = {"skeleton": 5, "rgb": 7}
GRIDS = {"rgb": (2, 3), "skeleton": (4, 2)}
SMALL = dict(
    token_dims=DIMS, num_classes=4, width=8, heads=2, grids=GRIDS, class_tokens=["rgb"], embedding_dim=3, memory=True
)
FUSION = {
    "token_fusion": {},
    "single_modality": {"modality": "rgb"},
    "concatenation": {},
    "late_fusion": {"weights": "learned"},
    "gated_fusion": {},
    "joint_transformer": {},
    "inter_fusion": {},
    "attention_mil": {"modality": "rgb", "positions": True},
}


def build(name: str, seed: int = 0, **changes):
    """A small model of the registry, in eval mode and float64, its parameters off their starting values."""
    torch.manual_seed(seed)
    model = create_model(name, **{**SMALL, **FUSION[name], **changes}).double()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
        if model.memory is not None:
            model.memory.bank.normal_()
            model.memory.mass[1:] = 1.0
    return model.eval()


def batch(n: int = 3, seed: int = 1, dims=DIMS, lengths=(7, 8), dtype=torch.float64) -> dict[str, torch.Tensor]:
    """Random tokens (N, L, D) a modality, in alphabetical order: rgb 7 (class token and 2 x 3), skeleton 4 x 2."""
    generator = torch.Generator().manual_seed(seed)
    return {
        name: torch.randn(n, length, dims[name], generator=generator, dtype=dtype)
        for name, length in zip(sorted(dims), lengths, strict=True)
    }


def xor_of_two_tokens(n: int, seed: int, length: int = 6, dim: int = 6) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
    """In each modality one token, anywhere, is marked and carries +1 or -1; the label says whether the two differ.

    Neither sign alone says anything about the label, and no sum of what each says alone does.
    """
    generator = torch.Generator().manual_seed(seed)
    signs = torch.randint(0, 2, (n, 2), generator=generator) * 2 - 1
    tokens = {}
    for i, name in enumerate(("rgb", "skeleton")):
        x = 0.3 * torch.randn(n, length, dim, generator=generator)
        at = torch.randint(0, length, (n,), generator=generator)
        x[torch.arange(n), at, 0] = 2.0
        x[torch.arange(n), at, 1] = 2.0 * signs[:, i]
        tokens[name] = x
    return tokens, (signs[:, 0] != signs[:, 1]).long()


def learn(model, tokens, labels, steps: int = 150, size: int = 64, lr: float = 3e-3, seed: int = 0) -> None:
    """AdamW on random batches, the memory included where the model has one."""
    torch.manual_seed(seed)
    optimizer = torch.optim.AdamW(model.parameters(), lr, weight_decay=0.01)
    model.train()
    for _ in range(steps):
        rows = torch.randint(0, len(labels), (size,))
        output = model({name: x[rows] for name, x in tokens.items()})
        torch.nn.functional.cross_entropy(output.logits, labels[rows]).backward()
        optimizer.step()
        optimizer.zero_grad()
        if model.memory is not None:
            model.memory.observe(output.features, labels[rows])
            model.memory.step()
    model.eval()


@torch.inference_mode()
def measure(model, tokens, labels, **inputs) -> tuple[float, float]:
    """Log-loss and accuracy."""
    logits = model(tokens, **inputs).logits
    return torch.nn.functional.cross_entropy(logits, labels).item(), (logits.argmax(1) == labels).double().mean().item()


def sign_at_the_marked_moment(n: int, seed: int, dim: int = 6) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
    """The skeleton (8 steps x 1) marks a quarter of the clip, rgb (4 steps x 2 places) shows a sign in each; the label is
    the sign at the marked moment. Needs the time of both modalities on one axis, at different rates."""
    generator = torch.Generator().manual_seed(seed)
    moment = torch.randint(0, 4, (n,), generator=generator)
    signs = torch.randint(0, 2, (n, 4), generator=generator)
    rgb = 0.3 * torch.randn(n, 4, 2, dim, generator=generator)
    rgb[..., 0, 1] += 2.0 * (2 * signs - 1)
    skeleton = 0.3 * torch.randn(n, 8, dim, generator=generator)
    half = torch.randint(0, 2, (n,), generator=generator)
    skeleton[torch.arange(n), 2 * moment + half, 0] += 2.0
    return {"rgb": rgb.flatten(1, 2), "skeleton": skeleton}, signs[torch.arange(n), moment]


MOMENT_GRIDS = {"rgb": (4, 2), "skeleton": (8, 1)}
