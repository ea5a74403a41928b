"""Recipe v1: weights and inputs made from their names and shapes alone, the same bits on every platform.

Splitmix64 in counter mode, seeded by the CRC-32 of the key. The parity fixtures were produced with these values, so a
test fills a model by the original's keys, checks the checksums, and compares outputs.
"""

import zlib

import numpy as np
import torch

UNFILLED = ("num_batches_tracked", "relative_position_index", "attn_mask")
GAINS = {".conv_a.": 3.0, ".conv_b.": 3.0, ".conv_d.": 0.35}


def u01(key, count):
    """`count` float32 in [0, 1), multiples of 2**-24."""
    state = np.uint64(zlib.crc32(key.encode()))
    with np.errstate(over="ignore"):
        state = state + np.arange(1, count + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
        for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
            state = (state ^ (state >> np.uint64(shift))) * np.uint64(factor)
        state ^= state >> np.uint64(31)
    return (state >> np.uint64(40)).astype(np.float32) * np.float32(2.0**-24)


def gain(key):
    """The factor on matrices and kernels; differs from 1 in 2s-AGCN's keys only."""
    found = [value for part, value in GAINS.items() if part in key]
    return found[0] if found else 0.3 if key.endswith(".PA") else 1.0


def fill(key, shape):
    """The value of one state-dict entry, float32, or None where the module's own value stays."""
    leaf = key.rpartition(".")[2]
    if leaf in UNFILLED or key == "A":
        return None
    u = u01(key, int(np.prod(shape)))
    signed = np.float32(2) * u - np.float32(1)
    if leaf == "running_mean":
        value = np.float32(0.2) * signed
    elif leaf == "running_var" or "edge_importance" in key:
        value = np.float32(0.5) + u
    elif len(shape) >= 2:
        value = signed * np.float32(gain(key) * np.sqrt(3.0 / int(np.prod(shape[1:]))))
    elif leaf == "weight":
        value = np.float32(0.75) + np.float32(0.5) * u
    else:
        value = np.float32(0.2) * signed
    return value.reshape(shape).astype(np.float32)


def unit_input(key, shape, low=0.0, high=1.0):
    """An input tensor, float32, uniform in [low, high)."""
    u = u01(key, int(np.prod(shape)))
    return (np.float32(low) + np.float32(high - low) * u).reshape(shape).astype(np.float32)


def crc32(array):
    return zlib.crc32(np.ascontiguousarray(array, "<f4").tobytes())


def filled_state(model, rename=lambda key: key):
    """A whole state dict for the model, its entries named by `rename(own key)` as the original names them."""
    state = {}
    for key, own in model.state_dict().items():
        value = fill(rename(key), tuple(own.shape))
        state[key] = own.clone() if value is None else torch.from_numpy(value)
    return state
