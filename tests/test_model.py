"""model.py against numbers worked out by hand and against the reference.

    pytest tests/test_model.py                                # seconds, nothing to download
    T5_WEIGHTS=folder pytest tests/test_model.py -m weights   # the published checkpoints

Oracles, in this order: arithmetic in the comments below; what Hugging Face
transformers computed with the tiny random checkpoints in tests/fixtures (its eager
attention, fp32; tests/fixtures/make_t5_fixtures.py says how, with which version, and
compares in the published sizes too); model.py's own slow way where it has a fast one;
and for the published weights the scores in the test suite of transformers, which
come from Mesh TensorFlow, in which T5 was trained.
"""

import doctest
import json
import math
import os
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import model
from model import EOS, PAD, Config
from plumbing import gpu, show
from reference import FIXTURES, TOLERANCE, read_expected, relative_error, run


def with_prompts(embedded, mask, prompts):
    """Prompts (P, D) in front of each row: (B, S, D), (B, S) -> (B, P + S, D), (B, P + S)."""
    B, P = len(embedded), len(prompts)
    return (torch.cat([prompts.expand(B, -1, -1), embedded], dim=1),
            torch.cat([mask.new_ones(B, P), mask], dim=1))


@pytest.fixture(params=["v1_0", "v1_1"])
def kind(request):
    return request.param


@pytest.fixture
def t5(kind):
    return model.load(FIXTURES / kind)


@pytest.fixture
def case(kind):
    return read_expected(kind)


@pytest.fixture
def small():
    """A configuration for arithmetic: one head of K = 4 on D = 4."""
    return Config(vocab_size=8, d_model=4, d_kv=4, d_ff=4, num_layers=1, num_decoder_layers=1,
                  num_heads=1)


def test_doctests():
    result = doctest.testmod(model)
    assert result.attempted >= 3 and result.failed == 0


# ------------------------------------------------------------------- by hand


def test_buckets_both_ways():
    # 32 buckets: 0-15 for the past and the token itself, 16-31 for the future. Within
    # each 16, the distances 0-7 have a bucket of their own. From 8 on
    #     bucket = 8 + floor(8 * log(d / 8) / log(128 / 8)) = 8 + floor(2 * log2(d / 8)),
    # two buckets for each doubling: 8-11, 12-15, 16-22, 23-31, …, 91 and all that is farther
    # (2 * log2(90 / 8) = 6.98, 2 * log2(91 / 8) = 7.02).
    past = {-1000: 15, -128: 15, -91: 15, -90: 14, -12: 9, -11: 8, -8: 8, -7: 7, -1: 1, 0: 0}
    future = {1: 17, 7: 23, 8: 24, 11: 24, 12: 25, 90: 30, 91: 31, 1000: 31}
    row = past | future
    assert model.relative_bucket(torch.tensor(list(row)), True).tolist() == list(row.values())


def test_buckets_causal():
    # All 32 for the past: 0-15 alone, then 16 + floor(16 * log(d / 16) / log(128 / 16)):
    #     d = 18: 16 * 0.118 / 2.079 = 0.91    d = 112: 16 * 1.946 / 2.079 = 14.97
    #     d = 19: 16 * 0.172 / 2.079 = 1.32    d = 113: 16 * 1.955 / 2.079 = 15.04
    row = {-1000: 31, -113: 31, -112: 30, -19: 17, -18: 16, -16: 16, -15: 15, -1: 1, 0: 0,
           1: 0, 50: 0}  # the future, which is masked, shares bucket 0
    assert model.relative_bucket(torch.tensor(list(row)), False).tolist() == list(row.values())


def test_buckets_of_another_size():
    # 8 buckets up to 16, causal: 0-3 alone, then 4 + floor(4 * log2(d / 4) / 2).
    distance = torch.tensor([-3, -4, -5, -6, -8, -12, -16, -99])
    assert model.relative_bucket(distance, False, 8, 16).tolist() == [3, 4, 4, 5, 6, 7, 7, 7]


def test_relative_bias_is_looked_up_by_key_minus_query(small):
    bias = model.RelativeBias(small, bidirectional=True)
    bias.table.weight.data = torch.arange(32.0)[:, None]  # the number of bucket b is b
    # Query 0 sees itself (0) and a key one ahead (17); query 1 looks back (1).
    assert bias(torch.arange(2), torch.arange(2)).tolist() == [[[[0, 17], [1, 0]]]]


def test_rms_norm(small):
    norm = model.RMSNorm(small)
    norm.weight.data = torch.tensor([1.0, 1.0, 10.0, 1.0])
    # mean(x^2) = (9 + 16 + 0 + 0) / 4 = 6.25, its root 2.5. No mean is subtracted:
    # LayerNorm would turn the zeros into -1.75 / 1.79.
    x = torch.tensor([[3.0, 0.0, 4.0, 0.0]])
    torch.testing.assert_close(norm(x), torch.tensor([[1.2, 0.0, 16.0, 0.0]]))
    # eps stands inside the root: with mean(x^2) = 1e-6 too, 0.001 / sqrt(2e-6) = 0.7071.
    tiny = torch.full((1, 4), 1e-3)
    assert norm(tiny)[0, 0].item() == pytest.approx(0.5 ** 0.5, rel=1e-4)
    # The squares are taken in fp32: 300^2 and 400^2 are beyond fp16, which ends at 65504.
    big = model.RMSNorm(small).half()(torch.tensor([300.0, 0.0, 400.0, 0.0]).half())
    torch.testing.assert_close(big, torch.tensor([1.2, 0.0, 1.6, 0.0]).half())


def test_attention_of_two_tokens(small):
    attention = model.Attention(small)
    for linear in (attention.q, attention.k, attention.v, attention.o):
        linear.weight.data = torch.eye(4)
    attention.q.weight.data *= math.log(3)
    x = torch.eye(4)[None, :2]  # two tokens: (1, 0, 0, 0) and (0, 1, 0, 0)
    keys, values = attention.keys_values(x)
    # Scores [[ln 3, 0], [0, ln 3]]: exp gives 3 to 1. Were they divided by sqrt(K) = 2
    # as elsewhere, it would be sqrt(3) to 1, and 0.634 in place of 0.75.
    out = attention(x, keys, values, torch.zeros(1, 1, 2, 2))
    torch.testing.assert_close(out, torch.tensor([[[0.75, 0.25, 0, 0], [0.25, 0.75, 0, 0]]]))
    # The bias is added before the softmax: ln 2 more for the second key doubles its side.
    out = attention(x, keys, values, torch.tensor([0, math.log(2)]).view(1, 1, 1, 2))
    torch.testing.assert_close(out, torch.tensor([[[3 / 5, 2 / 5, 0, 0], [1 / 7, 6 / 7, 0, 0]]]))


def test_few_queries_need_no_keys():
    """`absorbed` against keys and values, with its gradient: equal to 1e-5 of the largest."""
    config = Config(vocab_size=8, d_model=24, d_kv=6, d_ff=4, num_layers=1, num_decoder_layers=1,
                    num_heads=4)
    generator = torch.Generator().manual_seed(0)
    attention = model.Attention(config).requires_grad_(False)
    bias = torch.zeros(2, 1, 1, 9).masked_fill(torch.arange(9) > torch.tensor([[8], [5]])
                                               [:, None, None], model.MASKED)
    found = []
    for way in ("absorbed", "keys"):
        x, memory = (torch.randn(2, n, 24, generator=generator.manual_seed(n)).requires_grad_()
                     for n in (3, 9))
        seen = (memory,) if way == "absorbed" else attention.keys_values(memory)
        out = (attention.absorbed if way == "absorbed" else attention)(x, *seen, bias)
        out.square().sum().backward()
        found.append((out.detach(), x.grad, memory.grad))
        assert not memory.grad[1, 6:].any()  # nothing comes back from what may not be seen
    assert all(relative_error(a, b) < 1e-5 for a, b in zip(*found))
    none = attention.absorbed(x, memory, bias, dropout=1.0)  # no key is left to answer
    assert not none.any() and found[0][0].any()


def test_short_targets_are_absorbed_and_long_ones_are_not(t5, monkeypatch):
    K, asked = t5.config.d_kv, []
    real = model.Attention.absorbed
    monkeypatch.setattr(model.Attention, "absorbed", lambda self, x, *rest: (
        asked.append(x.shape[1]), real(self, x, *rest))[1])
    memory, mask = torch.randn(1, 5, t5.config.d_model), torch.ones(1, 5)
    for tokens in (K // 2, K // 2 + 1):
        t5.decode(torch.full((1, tokens), 3), memory, mask)
    assert asked == [K // 2] * t5.config.num_decoder_layers
    t5.decode(torch.full((1, 1), 3), memory, mask, [])  # a cache keeps keys and values
    assert len(asked) == t5.config.num_decoder_layers


def test_target_log_probs():
    # Even logits over V = 4: each token costs ln 4, padding nothing.
    even = model.target_log_probs(torch.zeros(1, 3, 4), torch.tensor([[3, EOS, PAD]]))
    torch.testing.assert_close(even, torch.tensor([[-math.log(4), -math.log(4), 0.0]]))
    # exp gives 1, 1, 1 and 5: the last has 5/8.
    logits = torch.tensor([[[0, 0, 0, math.log(5)]]])
    assert model.target_log_probs(logits, torch.tensor([[3]])).item() == pytest.approx(
        math.log(5 / 8))


# -------------------------------------------------------------- the reference


def test_logits(t5, case):
    assert relative_error(run(t5, case), case["logits"]) < TOLERANCE


def test_logits_with_prompts_in_front(t5, case):
    x, mask = with_prompts(t5.embed(case["ids"]), case["mask"], case["prompts"])
    logits = t5.decode(case["decoder_ids"], t5.encode(x, mask), mask)
    assert relative_error(logits, case["prompted_logits"]) < TOLERANCE
    assert relative_error(case["logits"], case["prompted_logits"]) > 0.01  # prompts matter here


@pytest.mark.parametrize("use_cache", [True, False])
@pytest.mark.parametrize("prompted", [False, True])
def test_greedy(t5, case, use_cache, prompted):
    x, mask = t5.embed(case["ids"]), case["mask"]
    if prompted:
        x, mask = with_prompts(x, mask, case["prompts"])
    expected = case["prompted_generated" if prompted else "generated"]
    ends = [row.index(EOS) if EOS in row else None for row in expected.tolist()]
    assert None in ends and len(set(ends)) >= 4  # rows that end here, there and not at all
    memory = t5.encode(x, mask)
    assert t5.generate(memory, mask, 16, use_cache).tolist() == expected.tolist()
    # Cut short, it is the beginning of the same.
    assert t5.generate(memory, mask, 3, use_cache).tolist() == expected[:, :3].tolist()


def test_greedy_stops_when_all_rows_have_ended(t5, case):
    ended = (case["generated"] == EOS).any(1)
    memory, mask = t5.encode(t5.embed(case["ids"]), case["mask"])[ended], case["mask"][ended]
    expected = case["generated"][ended]
    width = 1 + max(row.index(EOS) for row in expected.tolist())
    assert width < 16
    assert t5.generate(memory, mask, 16).tolist() == expected[:, :width].tolist()


def test_cache_takes_tokens_in_pieces_of_any_length(t5, case):
    memory = t5.encode(t5.embed(case["ids"]), case["mask"])
    cache, pieces = [], case["decoder_ids"].split([1, 3, 20, 8], dim=1)
    logits = [t5.decode(piece, memory, case["mask"], cache) for piece in pieces]
    assert relative_error(torch.cat(logits, dim=1), case["logits"]) < TOLERANCE


# ---------------------------------------------------------- masks, at corners


def test_a_row_alone_equals_the_row_in_a_padded_batch(t5, case):
    assert case["mask"].sum(1).tolist() == [150, 40, 23, 2, 1]  # the last: padding but one
    batch = run(t5, case)
    for i, length in enumerate(case["mask"].sum(1)):
        alone = run(t5, {"ids": case["ids"][i:i + 1, :length],
                         "mask": case["mask"][i:i + 1, :length],
                         "decoder_ids": case["decoder_ids"][i:i + 1]})
        assert relative_error(batch[i:i + 1], alone) < TOLERANCE


def test_padding_in_front_equals_padding_behind(t5, case):
    # Only differences of positions count, so it does not matter where a row begins.
    front = {"ids": case["ids"].roll(7, dims=1), "mask": case["mask"].roll(7, dims=1),
             "decoder_ids": case["decoder_ids"]}
    assert relative_error(run(t5, front)[1:], case["logits"][1:]) < TOLERANCE


def test_what_stands_at_padding_does_not_matter(t5, case):
    noise = torch.randint(3, 64, case["ids"].shape, generator=torch.Generator().manual_seed(0))
    noisy = case | {"ids": torch.where(case["mask"] > 0, case["ids"], noise)}
    assert not torch.equal(noisy["ids"], case["ids"])
    assert relative_error(run(t5, noisy), run(t5, case)) < 1e-6


def test_a_row_without_any_token_is_no_nan_and_disturbs_no_other(t5, case):
    # Whether softmax of nothing but -inf is NaN depends on the kernel: no -inf, in no dtype.
    assert torch.tensor(model.MASKED, dtype=torch.float16).isfinite()
    mask = case["mask"].clone()
    mask[2] = 0
    logits = run(t5, case, mask)
    assert logits.isfinite().all()
    others = [0, 1, 3, 4]
    assert relative_error(logits[others], case["logits"][others]) < TOLERANCE
    assert relative_error(logits[2], case["logits"][2]) > 0.01


def test_prompts_are_seen_where_no_token_is(t5, case):
    # The row has no token: the result is that of the prompts alone.
    mask = case["mask"].clone()
    mask[2] = 0
    x, long_mask = with_prompts(t5.embed(case["ids"]), mask, case["prompts"])
    logits = t5.decode(case["decoder_ids"], t5.encode(x, long_mask), long_mask)
    only = torch.ones(1, len(case["prompts"]))
    alone = t5.decode(case["decoder_ids"][2:3], t5.encode(case["prompts"][None], only), only)
    assert relative_error(logits[2:3], alone) < TOLERANCE


def test_later_tokens_do_not_change_earlier_logits(t5, case):
    changed = case["decoder_ids"].clone()
    changed[:, 20:] = 5
    logits = run(t5, case | {"decoder_ids": changed})
    assert relative_error(logits[:, :20], case["logits"][:, :20]) < TOLERANCE
    assert relative_error(logits[:, 20:], case["logits"][:, 20:]) > 0.01


def test_shapes_that_do_not_fit(t5, case):
    x = t5.embed(case["ids"])
    with pytest.raises(ValueError, match=r"mask \(5, 149\) does not fit \(5, 150, 16\)"):
        t5.encode(x, case["mask"][:, 1:])
    with pytest.raises(ValueError, match="7 decoder rows for 5 inputs"):
        t5.decode(torch.zeros(7, 1, dtype=torch.long), x, case["mask"])


# ------------------------------------------------ labels that share one input


LABELS = torch.tensor([[7, EOS, PAD, PAD], [5, 6, EOS, PAD], [40, 9, 8, EOS]])  # 2, 3, 4 tokens


def test_score_labels_is_the_sum_of_their_log_probs(t5, case):
    memory, mask = t5.encode(t5.embed(case["ids"]), case["mask"]), case["mask"]
    scores = t5.score_labels(memory, mask, LABELS)
    assert scores.shape == (5, 3)
    for b in range(5):
        for l, tokens in enumerate(([7, EOS], [5, 6, EOS], [40, 9, 8, EOS])):
            # One input, one label, unpadded: the decoder reads pad and the label so far.
            logits = t5.decode(torch.tensor([[PAD] + tokens[:-1]]), memory[b:b + 1], mask[b:b + 1])
            log_probs = logits[0].log_softmax(-1)
            expected = sum(log_probs[i, token].item() for i, token in enumerate(tokens))
            assert scores[b, l].item() == pytest.approx(expected, rel=1e-5)


def test_the_labels_of_an_input_share_one_row_of_the_decoder(t5, case, monkeypatch):
    """The pad once, no padding, and no label's last token: nobody asks what comes after it."""
    asked, real = [], t5.decoder_states
    monkeypatch.setattr(t5, "decoder_states", lambda ids, *rest, tree: asked.append((
        ids[0].tolist(), *(one.tolist() for one in tree))) or real(ids, *rest, tree=tree))
    t5.score_labels(t5.encode(t5.embed(case["ids"]), case["mask"]), case["mask"], LABELS[:2])
    assert asked == [([PAD, 7, 5, 6], [0, 1, 1, 2], [
        [True, False, False, False],
        [True, True, False, False],  # 7 sees the pad and itself
        [True, False, True, False],  # 5, of the other label, does not see it
        [True, False, True, True]])]


def test_a_frozen_model_passes_gradients_to_its_prompts(t5, case):
    prompts = case["prompts"].clone().requires_grad_()
    x, mask = with_prompts(t5.embed(case["ids"]), case["mask"], prompts)
    t5.score_labels(t5.encode(x, mask), mask, LABELS).sum().backward()
    assert prompts.grad.isfinite().all() and (prompts.grad.abs().sum(-1) > 0).all()
    assert all(weight.grad is None for weight in t5.parameters())


@pytest.mark.parametrize("keys", [1, model.SHORT, model.SHORT + 1])
def test_attention_with_its_scores_in_memory_is_the_same(keys):
    """For few keys and frozen weights by the formula, else by torch: answers and gradients."""
    attention, found = model.Attention(Config(40, 24, 8, 64, 1, 1, 4)), []
    generator = torch.Generator().manual_seed(0)
    for weight in attention.parameters():
        weight.data.normal_(std=0.2, generator=generator)  # scores of 10 leave rounding of 1e-5
    x, towards = torch.randn(2, 2, keys, 24, generator=generator)
    bias = torch.randn(2, 4, keys, keys, generator=generator)
    for trained in (False, True):
        attention.requires_grad_(trained)
        asked = x.clone().requires_grad_()
        answer = attention(asked, *attention.keys_values(asked), bias)
        found.append((answer, *torch.autograd.grad(answer, asked, towards)))
    assert all(relative_error(ours, theirs) < 1e-5 for ours, theirs in zip(*found))


@pytest.mark.parametrize("dtype", ["fp32", "bf16"])
@pytest.mark.parametrize("recompute", [False, True])
def test_what_a_position_keeps_for_the_backward_pass(dtype, recompute):
    """Bytes of a block, by the tensors that autograd saves: the formula of docs/fast.md.

    The stream twice, in fp32; queries, keys, values and answers (H * K each) and the feed-forward's
    F, in the type of the products. No input of a product: its weights are frozen.
    """
    D, K, H, ff, S, kept = 24, 8, 4, 64, model.SHORT + 1, []
    for layers in (1, 3):
        t5 = model.initialise(Config(40, D, K, ff, layers, 1, H)).requires_grad_(False)
        if dtype == "bf16":
            t5, t5.amp = t5.bfloat16(), torch.bfloat16
        t5.recompute, found = recompute, {}

        def keep(tensor, found=found):
            found[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            t5.encode(torch.randn(2, S, D, requires_grad=True), torch.ones(2, S))
        weights = {p.untyped_storage().data_ptr() for p in t5.parameters()}
        kept.append(sum(n for at, n in found.items() if at not in weights) / (2 * S))
    size = 4 if dtype == "fp32" else 2
    wanted = 4 * D if recompute else 4 * 2 * D + size * (4 * H * K + ff)
    counted = [gpu.kept(Config(40, D, K, ff, n, 1, H), size, recompute) for n in (1, 2)]
    assert counted[1] - counted[0] == wanted  # by what decides how large a pass may be on a GPU
    # Beside it the two norms' scales and the attention's sums, of a few numbers.
    assert (kept[1] - kept[0]) / 2 == pytest.approx(wanted, abs=4 * (H + 8))


@pytest.mark.parametrize("dropout", [0.0, 0.5])
def test_recomputing_gives_the_same_gradient_and_keeps_less(t5, case, dropout):
    """Bit for bit, with dropout too; of an encoder block only its input (B, S, D) is kept."""
    found, known = [], {p.untyped_storage().data_ptr() for p in t5.parameters()}
    for t5.recompute in (False, True):
        t5.dropout = dropout
        embedded = t5.embed(case["ids"]).detach().requires_grad_()
        torch.manual_seed(0)
        kept = {}

        def keep(tensor, kept=kept):
            kept[tensor.untyped_storage().data_ptr()] = tensor.numel()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            memory = t5.encode(embedded, case["mask"])
        memory.square().sum().backward()
        B, S = case["mask"].shape
        bias = B * t5.config.num_heads * S * S  # is there once in both
        found.append((sum(n for at, n in kept.items() if at not in known) - bias,
                      memory.detach(), embedded.grad))
    (much, *one), (little, *other) = found
    assert all(torch.equal(a, b) for a, b in zip(one, other))
    assert 0 < little < 0.3 * much


def test_dropout_is_off_unless_set(t5, case):
    assert torch.equal(run(t5, case), run(t5, case))
    t5.dropout = 0.1
    x, mask = t5.embed(case["ids"]), case["mask"]
    memory = t5.encode(x, mask)
    assert not torch.equal(memory, t5.encode(x, mask))
    assert not torch.equal(t5.decode(case["decoder_ids"], memory, mask),
                           t5.decode(case["decoder_ids"], memory, mask))


# ------------------------------------------------------------------------- load and save


def test_a_loaded_model_is_frozen(t5):
    assert not any(weight.requires_grad for weight in t5.parameters())


def test_save_and_load(t5, case, kind, tmp_path):
    model.save(t5, tmp_path)
    assert sorted(os.listdir(tmp_path)) == ["config.json", "model.safetensors"]
    saved = load_file(tmp_path / "model.safetensors")
    reference = load_file(FIXTURES / kind / "model.safetensors")
    assert saved.keys() == reference.keys()
    assert all(torch.equal(saved[name], reference[name]) for name in saved)
    again = model.load(tmp_path)
    assert again.config == t5.config and again.fingerprint == t5.fingerprint
    assert torch.equal(run(again, case), run(t5, case))
    # The config too says nothing that the reference does not, and what a reader needs:
    config = json.loads((tmp_path / "config.json").read_text())
    reference = json.loads((FIXTURES / kind / "config.json").read_text())
    assert config.items() <= reference.items()
    assert config.keys() >= {"model_type", "architectures", "is_encoder_decoder",
                             "decoder_start_token_id", "pad_token_id", "eos_token_id"}


# ------------------------------------------------------------------- the dtype


def test_bf16_products_are_close(t5, case):
    t5.amp = torch.bfloat16
    logits = run(t5, case)
    # bf16 has 8 bits: steps of 0.4 %, of which a dozen or so pile up in the worst logit.
    assert 1e-4 < relative_error(logits.float(), case["logits"]) < 0.1


def test_the_type_of_the_products_is_that_of_the_weights_unless_set(kind):
    assert model.load(FIXTURES / kind).amp is None
    for dtype in (torch.bfloat16, torch.float16):
        assert model.load(FIXTURES / kind, dtype=dtype).amp == dtype


@pytest.mark.parametrize("dtype, least, most", [(torch.bfloat16, 1e-4, 0.1),
                                                (torch.float16, 1e-5, 0.01)])
def test_encode_under_amp_gives_nearly_what_fp32_gives(t5, case, dtype, least, most):
    x, mask = t5.embed(case["ids"]), case["mask"]
    exact = t5.encode(x, mask)
    t5.amp = dtype
    assert least < relative_error(t5.encode(x, mask).float(), exact) < most
    assert {weight.dtype for weight in t5.parameters()} == {torch.float32}  # the weights stay
    t5.amp = None
    assert torch.equal(t5.encode(x, mask), exact)


def test_bf16_weights_are_close(kind, case):
    t5 = model.load(FIXTURES / kind, dtype=torch.bfloat16)
    assert {weight.dtype for weight in t5.parameters()} == {torch.bfloat16}
    assert 1e-4 < relative_error(run(t5, case).float(), case["logits"]) < 0.1


def test_fp16_keeps_wo_in_fp32(kind):
    for name, weight in model.load(FIXTURES / kind, dtype=torch.float16).state_dict().items():
        assert weight.dtype == (torch.float32 if name.endswith("wo.weight") else torch.float16)


def test_fp16_products_are_close(t5, case):
    t5.amp = torch.float16
    logits = run(t5, case)
    assert 1e-5 < relative_error(logits.float(), case["logits"]) < 0.01


def test_fp16_weights_are_close(kind, case):
    t5 = model.load(FIXTURES / kind, dtype=torch.float16)
    assert 1e-5 < relative_error(run(t5, case).float(), case["logits"]) < 0.01


def test_fp16_feed_forward_beyond_65504(small):
    ff = model.FeedForward(small).half()
    ff.wo.float()
    ff.wi.weight.data, ff.wo.weight.data = 200 * torch.eye(4).half(), 1000 * torch.eye(4)
    # 1 * 200 * 1000 = 200,000: infinite in fp16.
    assert ff(torch.ones(1, 1, 4).half()).tolist() == [[[200_000.0] * 4]]


# -------------------------------------------------------------------- initialise


MEDIUM = dict(vocab_size=512, d_model=64, d_kv=8, d_ff=128, num_layers=2, num_decoder_layers=1,
              num_heads=4)


def test_initialise_is_decided_by_its_seed(tmp_path):
    config = Config(**MEDIUM)
    first, same, other = (model.initialise(config, seed) for seed in (1, 1, 2))
    state = same.state_dict()
    assert all(torch.equal(weight, state[name]) for name, weight in first.state_dict().items())
    assert first.fingerprint == same.fingerprint != other.fingerprint
    assert all(weight.requires_grad for weight in first.parameters())
    model.save(first, tmp_path)
    assert model.load(tmp_path).fingerprint == first.fingerprint


@pytest.mark.parametrize("changes", [{}, {"feed_forward_proj": "gated-gelu",
                                          "tie_word_embeddings": False}])
def test_initialise_has_the_scales_of_the_paper_s_code(changes):
    # D = 64, K = 8, H * K = 32, F = 128. The scale that attention lacks is in q.
    scales = {"q": (64 * 8) ** -0.5, "k": 64 ** -0.5, "v": 64 ** -0.5, "o": 32 ** -0.5,
              "wi": 64 ** -0.5, "wi_0": 64 ** -0.5, "wi_1": 64 ** -0.5, "wo": 128 ** -0.5,
              "shared": 1.0, "lm_head": 1.0, "table": 64 ** -0.5}
    for name, weight in model.initialise(Config(**MEDIUM, **changes)).named_parameters():
        if name.endswith("norm.weight"):
            assert (weight == 1).all()
        else:
            # The spread of n numbers is itself only known to 1 / sqrt(2 n): 4 of those.
            kind = name.split(".")[-2]
            assert weight.std().item() == pytest.approx(
                scales[kind], rel=4 * (2 * weight.numel()) ** -0.5), name


# ------------------------------------------------------- the published weights


def test_weights_that_are_not_the_published_ones_are_told(monkeypatch, capsys):
    toy = str(Path(model.__file__).with_name("toy") / "t5")
    monkeypatch.setattr(sys, "argv", ["model.py", toy, "--check", "t5-small"])
    with pytest.raises(ValueError, match="toy.t5 is not the published t5-small: .* = (-.*), known "
                                         "-19.0845") as error:
        show.of_model(model.load)
    found = float(str(error.value).split(" = ")[1].split(",")[0])
    monkeypatch.setitem(show.KNOWN_ANSWERS, "t5-small", found)
    show.of_model(model.load)
    assert capsys.readouterr().out == (
        f"log p(Hi I am | Hello there) = {found:.4f}, known {found:.4f}: agrees\n")


@pytest.mark.parametrize("words, said", [
    (["word " * 5000], "the text has .* tokens, wanted at most 4096"),
    (["--max-tokens", "0"], "--max-tokens is 0, wanted 1 or more"),
    (["--max-tokens", "9999999"], "--max-tokens is 9999999, wanted at most 4,096")])
def test_what_would_take_minutes_is_refused(words, said, monkeypatch):
    toy = str(Path(model.__file__).with_name("toy") / "t5")
    monkeypatch.setattr(sys, "argv", ["model.py", toy, *words])
    with pytest.raises(ValueError, match=said):
        show.of_model(model.load)


def published(*names):
    """T5 and tokenizer of the first of these folders under T5_WEIGHTS; skips without it."""
    root = os.environ.get("T5_WEIGHTS")
    if not root:
        pytest.skip(f"set T5_WEIGHTS to a folder that holds {' or '.join(names)}, with "
                    "config.json, the weights and spiece.model as published")
    folder = next((Path(root) / name for name in names if (Path(root) / name).is_dir()), None)
    if folder is None:
        pytest.skip(f"T5_WEIGHTS={root} holds no {' or '.join(names)}")
    import sentencepiece
    return model.load(folder), sentencepiece.SentencePieceProcessor(
        model_file=str(folder / "spiece.model"))


def encode_text(t5, tokenizer, text):
    """The memory of a text with eos, (1, S, D), and its mask (1, S)."""
    ids = torch.tensor([tokenizer.encode(text) + [EOS]])
    mask = torch.ones_like(ids)
    return t5.encode(t5.embed(ids), mask), mask


@pytest.mark.weights
@pytest.mark.parametrize("names, expected", [
    (("t5-small",), -19.0845),
    (("google/t5-v1_1-small", "t5-v1_1-small"), -59.0293),
])
def test_published_score(names, expected):
    t5, tokenizer = published(*names)
    memory, mask = encode_text(t5, tokenizer, "Hello there")
    label = torch.tensor([tokenizer.encode("Hi I am") + [EOS]])
    assert t5.score_labels(memory, mask, label).item() == pytest.approx(expected, abs=1e-4)


@pytest.mark.weights
def test_published_translation():
    t5, tokenizer = published("t5-small")
    memory, mask = encode_text(
        t5, tokenizer, "translate English to German: The house is wonderful.")
    [ids] = t5.generate(memory, mask, 20).tolist()
    assert ids[-1] == EOS
    assert tokenizer.decode(ids[:-1]) == "Das Haus ist wunderbar."
