"""T5's forward and backward pass on a GPU, recorded once and then started with one call.

The two passes of T5-base are 2,400 small operations. For a batch of 16, an H200 runs them in 15 ms,
but Python needs 93 ms to start them one by one (docs/fast.md). A CUDA graph is a recording of all
of them. A recording works for one shape only, so widths are rounded up (`WIDTH`): then few shapes
occur.
"""

import warnings
from collections import Counter

import torch

WIDTH = 32  # columns of a batch's inputs, prompt counted, are a multiple of it
SEEN_BEFORE = 3  # how often a shape comes before it is recorded, which takes 0.3 s
MOST = 32  # recordings: they share their memory, but each has its own inputs and outputs


def bytes_per_position(config, size):
    """Bytes that the encoder keeps of one position for the backward pass.

    size: of a number in the products' type, 2 or 4; what is added up is in fp32.
    """
    inner = config.num_heads * config.d_kv
    feed_forward = config.d_ff * (3 if config.feed_forward_proj == "gated-gelu" else 1)
    return config.num_layers * (8 * config.d_model + size * (4 * inner + feed_forward))


class Recorder:
    """t5(embedded, mask, decoder_ids), recorded for each shape that comes often."""

    def __init__(self):
        self.seen = Counter()
        self.recordings = {}
        self.pool = None

    def can_record(self, t5, embedded):
        """On a GPU, without dropout, when the prompts are trained and T5 is frozen."""
        if embedded.device.type != "cuda" or not embedded.requires_grad or t5.training:
            return False
        return not any(weight.requires_grad for weight in t5.parameters())

    def __call__(self, t5, embedded, mask, decoder_ids):
        if not self.can_record(t5, embedded):
            return t5(embedded, mask, decoder_ids)
        shape = embedded.shape, decoder_ids.shape[1]
        self.seen[shape] += 1
        if shape in self.recordings:
            recording = self.recordings.pop(shape)
            self.recordings[shape] = recording  # now the latest used
        elif self.seen[shape] > SEEN_BEFORE:
            self.forget_the_oldest()
            self.recordings[shape] = self.record(t5, embedded, mask, decoder_ids)
        run = self.recordings.get(shape, t5)
        return run(embedded, mask, decoder_ids)

    def forget_the_oldest(self):
        if len(self.recordings) == MOST:
            oldest = next(iter(self.recordings))
            del self.recordings[oldest]
            del self.seen[oldest]

    def record(self, t5, embedded, mask, decoder_ids):
        """The recording of one shape; where memory is too small for it, t5 itself."""
        if self.pool is None:
            self.pool = torch.cuda.graph_pool_handle()  # shared: passes do not overlap
        inputs = embedded.detach().clone().requires_grad_(), mask.clone(), decoder_ids.clone()
        try:
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", "The AccumulateGrad node's stream")
                warnings.filterwarnings("error", "The CUDA Graph is empty")  # of another device
                return torch.cuda.make_graphed_callables(t5.forward, inputs, pool=self.pool)
        except torch.OutOfMemoryError:
            torch.cuda.empty_cache()
            print(f"no memory to record a pass of {tuple(embedded.shape[:2])} positions: it is "
                  "run without a recording, more slowly", flush=True)
            return t5
