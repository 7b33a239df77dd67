"""What the reference implementation computed with tiny random T5s, and how far we are from it.

No test of its own: test_model.py and test_checkpoint.py compare with it.
"""

from pathlib import Path

import numpy as np
import torch


FIXTURES = Path(__file__).parent / "fixtures"
TOLERANCE = 1e-5  # for fp32, see relative_error


def relative_error(ours, expected):
    """The largest difference over the largest expected number."""
    return ((ours - expected).abs().max() / expected.abs().max()).item()


def read_expected(kind):
    """The inputs of a fixture and what the reference made of them, name -> tensor."""
    arrays = np.load(FIXTURES / kind / "expected.npz")
    return {name: torch.from_numpy(arrays[name]) for name in arrays.files}


def run(t5, case, mask=None):
    """Logits (B, T, V) for the ids of a fixture."""
    mask = case["mask"] if mask is None else mask
    return t5.decode(case["decoder_ids"], t5.encode(t5.embed(case["ids"]), mask), mask)
