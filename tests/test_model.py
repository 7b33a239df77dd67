"""model.py: numbers worked out by hand, then the reference implementation, then the corners.

    python -m pytest tests/test_model.py                                # nothing to download
    T5_WEIGHTS=FOLDER python -m pytest tests/test_model.py -m weights   # published checkpoints too

Oracles, in this order: the arithmetic in the comments; what Hugging Face transformers computed with
the tiny random T5s in tests/fixtures (make_t5_fixtures.py says how); each row alone, and plain
decoding where there is a cache; and for the published weights the scores in transformers' own
tests, which come from Mesh TensorFlow, in which T5 was trained.
"""

import math
import os
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy
import pytest
import torch

import model
from model import EOS, PAD, Config
from plumbing.tokenizer import Tokenizer

FIXTURES = Path(__file__).parent / "fixtures"
TWO_WIDE = Config(vocab_size=8, d_model=2, d_kv=2, d_ff=2, num_layers=1, num_decoder_layers=1,
                  num_heads=1)

# ------------------------------------------------------------------------ by hand


def test_rms_norm():
    norm = model.RMSNorm(TWO_WIDE)
    # The mean of the squares of [3, 4] is (9 + 16) / 2 = 12.5; no mean is subtracted.
    root = math.sqrt(12.5)
    assert norm(torch.tensor([3.0, 4.0])).tolist() == pytest.approx([3 / root, 4 / root])
    # Then each number has a weight of its own.
    norm.weight.data = torch.tensor([10.0, 1.0])
    assert norm(torch.tensor([3.0, 4.0])).tolist() == pytest.approx([30 / root, 4 / root])
    # eps, 1e-6, is inside the root: with a mean of 1e-6 too, 0.001 / sqrt(2e-6) = 0.7071.
    assert norm(torch.full((2,), 1e-3))[1].item() == pytest.approx(math.sqrt(0.5), rel=1e-4)
    # The squares are taken in fp32: 300^2 and 400^2 are beyond fp16, which ends at 65504.
    big = norm.half()(torch.tensor([300.0, 400.0]).half())
    assert big.tolist() == pytest.approx([30 / root, 4 / root], rel=1e-3)


def test_attention_of_two_tokens():
    attention = model.Attention(TWO_WIDE)
    for linear in (attention.q, attention.k, attention.v, attention.o):
        linear.weight.data = torch.eye(2)
    attention.q.weight.data *= math.log(3)
    x = torch.eye(2)[None]  # two tokens, (1, 0) and (0, 1)
    # The scores q k^T are [[ln 3, 0], [0, ln 3]], and exp of them is 3 to 1. Divided by sqrt(K) as
    # elsewhere it would be 2.17 to 1.
    out = attention(x, x, torch.zeros(1, 1, 2, 2))
    torch.testing.assert_close(out, torch.tensor([[[0.75, 0.25], [0.25, 0.75]]]))
    # The bias is added before the softmax: ln 2 more for the second key doubles its side.
    bias = torch.tensor([0.0, math.log(2)]).view(1, 1, 1, 2)
    out = attention(x, x, bias)
    torch.testing.assert_close(out, torch.tensor([[[3 / 5, 2 / 5], [1 / 7, 6 / 7]]]))
    # A key that is masked counts as not there.
    bias = torch.tensor([0.0, model.MASKED]).view(1, 1, 1, 2)
    assert attention(x, x, bias).tolist() == [[[1.0, 0.0], [1.0, 0.0]]]


def test_buckets():
    # Both ways, 32 buckets: 0 to 15 for the past and the token itself, 16 to 31 for the future.
    # Of these 16 the distances 0 to 7 have one each. From 8 on the bucket is
    #     8 + floor(8 * log(d / 8) / log(128 / 8)) = 8 + floor(2 * log2(d / 8)):
    # two for each doubling, 8-11, 12-15, 16-22, 23-31, …, and the last from 91 on.
    past = {-1000: 15, -91: 15, -90: 14, -12: 9, -11: 8, -8: 8, -7: 7, -1: 1, 0: 0}
    future = {1: 17, 7: 23, 8: 24, 11: 24, 12: 25, 90: 30, 91: 31, 1000: 31}
    both = past | future
    assert model.relative_bucket(torch.tensor(list(both)), True).tolist() == list(both.values())
    # The decoder has all 32 for the past: 0 to 15 alone, then 16 + floor(16 * log(d / 16) / log 8).
    # 16 * log(112 / 16) / log 8 = 14.97, and of 113 it is 15.04.
    causal = {-1000: 31, -113: 31, -112: 30, -19: 17, -18: 16, -16: 16, -15: 15, 0: 0, 50: 0}
    found = model.relative_bucket(torch.tensor(list(causal)), False).tolist()
    assert found == list(causal.values())
    # 8 buckets up to 16: 0 to 3 alone, then 4 + floor(4 * log2(d / 4) / 2).
    distances = torch.tensor([-3, -4, -5, -6, -8, -12, -16, -99])
    found = model.relative_bucket(distances, False, buckets=8, max_distance=16).tolist()
    assert found == [3, 4, 4, 5, 6, 7, 7, 7]


def test_the_bias_is_that_of_key_minus_query():
    positions = model.RelativeBias(TWO_WIDE, bidirectional=True)
    positions.table.weight.data = torch.arange(32.0)[:, None]  # the number of bucket b is b
    # Query 0 sees itself (0) and a key one ahead (17); query 1 looks one back (1).
    assert positions(torch.arange(2), torch.arange(2)).tolist() == [[[[0, 17], [1, 0]]]]


def test_the_two_feed_forwards():
    relu = model.FeedForward(TWO_WIDE)
    relu.wi.weight.data = torch.eye(2)
    relu.wo.weight.data = torch.tensor([[1.0, 0.0], [10.0, 100.0]])
    # relu(2, -3) = (2, 0); times wo (2, 20)
    assert relu(torch.tensor([2.0, -3.0])).tolist() == [2, 20]
    gated = model.FeedForward(Config(8, 2, 2, 2, 1, 1, 1, feed_forward_proj="gated-gelu"))
    gated.wi_0.weight.data = torch.eye(2)
    gated.wi_1.weight.data = 10 * torch.eye(2)
    gated.wo.weight.data = torch.eye(2)
    # gelu(1) = 0.5 (1 + tanh(sqrt(2 / pi) (1 + 0.044715))) = 0.8412, times 10
    assert gated(torch.tensor([1.0, 0.0])).tolist() == pytest.approx([8.412, 0], abs=1e-3)


def test_target_log_probs():
    # Even logits over V = 4: each token costs ln 4, padding costs nothing.
    even = model.target_log_probs(torch.zeros(1, 3, 4), torch.tensor([[3, EOS, PAD]]))
    assert even[0].tolist() == pytest.approx([-math.log(4), -math.log(4), 0])
    # exp of these is 1, 1, 1 and 5: the last has 5/8.
    logits = torch.tensor([[[0.0, 0.0, 0.0, math.log(5)]]])
    found = model.target_log_probs(logits, torch.tensor([[3]]))
    assert found.item() == pytest.approx(math.log(5 / 8))


# ---------------------------------------------------------------- the reference


@pytest.fixture(params=["v1_0", "v1_1"])
def kind(request):
    return request.param


@pytest.fixture
def t5(kind):
    return model.load(FIXTURES / kind)


@pytest.fixture
def case(kind):
    return read_case(kind)


def read_case(kind):
    """What the reference computed for five rows of 150, 40, 23, 2 and 1 tokens, as tensors."""
    arrays = numpy.load(FIXTURES / kind / "expected.npz")
    return SimpleNamespace(**{name: torch.from_numpy(arrays[name]) for name in arrays.files})


def with_prompts(embedded, mask, prompts):
    """One prompt (P, D) in front of every row: (B, P+S, D) and its mask (B, P+S)."""
    in_front = prompts.expand(len(embedded), -1, -1)  # (P, D) -> (B, P, D)
    visible = mask.new_ones(in_front.shape[:2])
    return torch.cat([in_front, embedded], dim=1), torch.cat([visible, mask], dim=1)


def logits_of(t5, ids, mask, decoder_ids):
    return t5.decode(decoder_ids, t5.encode(t5.embed(ids), mask), mask)


def difference(ours, expected):
    """The largest difference, relative to the largest number."""
    return ((ours - expected).abs().max() / expected.abs().max()).item()


@pytest.mark.parametrize("folder, expected", [
    ("v1_0", "v1_0"), ("v1_0_bin", "v1_0"), ("v1_0_sharded", "v1_0"), ("v1_1", "v1_1")])
def test_logits_are_those_of_the_reference(folder, expected):
    case = read_case(expected)
    logits = logits_of(model.load(FIXTURES / folder), case.ids, case.mask, case.decoder_ids)
    assert difference(logits, case.logits) < 1e-5


def test_logits_behind_a_prompt_are_those_of_the_reference(t5, case):
    embedded, mask = with_prompts(t5.embed(case.ids), case.mask, case.prompts)
    memory, logits = t5(embedded, mask, case.decoder_ids)
    assert memory.shape == embedded.shape
    assert difference(logits, case.prompted_logits) < 1e-5
    assert difference(case.logits, case.prompted_logits) > 0.01  # the prompt has an effect


@pytest.mark.parametrize("prompted", [False, True])
def test_what_is_generated_is_that_of_the_reference(t5, case, prompted):
    embedded = t5.embed(case.ids)
    mask = case.mask
    expected = case.generated
    if prompted:
        embedded, mask = with_prompts(embedded, mask, case.prompts)
        expected = case.prompted_generated
    ends = {row.index(EOS) if EOS in row else None for row in expected.tolist()}
    assert None in ends and len(ends) >= 4  # rows end here, there, and not at all
    memory = t5.encode(embedded, mask)
    assert t5.generate(memory, mask, 16).tolist() == expected.tolist()
    # Cut short, it is the beginning of the same.
    assert t5.generate(memory, mask, 3).tolist() == expected[:, :3].tolist()


def test_generation_stops_when_all_rows_have_ended(t5, case):
    ended = (case.generated == EOS).any(1)
    expected = case.generated[ended]
    mask = case.mask[ended]
    memory = t5.encode(t5.embed(case.ids[ended]), mask)
    width = 1 + max(row.index(EOS) for row in expected.tolist())
    assert width < 16
    assert t5.generate(memory, mask, 16).tolist() == expected[:, :width].tolist()


def test_the_cache_of_generation_is_plain_decoding(t5, case):
    memory = t5.encode(t5.embed(case.ids), case.mask)
    cache = model.DecoderCache(t5, memory, case.mask)
    one_by_one = [cache.next_logits(token) for token in case.decoder_ids.split(1, dim=1)]
    plain = t5.decode(case.decoder_ids, memory, case.mask)
    assert difference(torch.cat(one_by_one, dim=1), plain) < 1e-5


# ---------------------------------------------------------- masks, at their corners


def test_a_row_alone_is_the_row_in_a_padded_batch(t5, case):
    lengths = case.mask.sum(1).tolist()
    assert lengths == [150, 40, 23, 2, 1]  # the last one: all padding but one
    together = logits_of(t5, case.ids, case.mask, case.decoder_ids)
    for row, length in enumerate(lengths):
        this = slice(row, row + 1)
        ids = case.ids[this, :length]
        alone = logits_of(t5, ids, torch.ones_like(ids), case.decoder_ids[this])
        assert difference(together[this], alone) < 1e-5


def test_what_stands_at_padding_has_no_effect(t5, case):
    noise = torch.randint(3, 64, case.ids.shape, generator=torch.Generator().manual_seed(0))
    noisy = torch.where(case.mask > 0, case.ids, noise)
    assert not torch.equal(noisy, case.ids)
    assert difference(logits_of(t5, noisy, case.mask, case.decoder_ids), case.logits) < 1e-5
    # Only differences of positions count, so padding in front is as good as behind.
    ids = case.ids.roll(7, dims=1)
    front = logits_of(t5, ids, case.mask.roll(7, dims=1), case.decoder_ids)
    assert difference(front[1:], case.logits[1:]) < 1e-5


def test_a_row_without_any_token_is_no_nan_and_disturbs_no_other(t5, case):
    assert torch.tensor(model.MASKED, dtype=torch.float16).isfinite()
    mask = case.mask.clone()
    mask[2] = 0
    logits = logits_of(t5, case.ids, mask, case.decoder_ids)
    assert logits.isfinite().all()
    others = [0, 1, 3, 4]
    assert difference(logits[others], case.logits[others]) < 1e-5
    assert difference(logits[2], case.logits[2]) > 0.01


def test_a_prompt_is_visible_where_no_token_is(t5, case):
    # Row 2 has no token: encoder and cross-attention see the prompt alone.
    mask = case.mask.clone()
    mask[2] = 0
    embedded, long_mask = with_prompts(t5.embed(case.ids), mask, case.prompts)
    _, logits = t5(embedded, long_mask, case.decoder_ids)
    only = torch.ones(1, len(case.prompts))
    _, alone = t5(case.prompts[None], only, case.decoder_ids[2:3])
    assert difference(logits[2:3], alone) < 1e-5


def test_later_tokens_have_no_effect_on_earlier_logits(t5, case):
    changed = case.decoder_ids.clone()
    changed[:, 20:] = 5
    logits = logits_of(t5, case.ids, case.mask, changed)
    assert difference(logits[:, :20], case.logits[:, :20]) < 1e-5
    assert difference(logits[:, 20:], case.logits[:, 20:]) > 0.01


def test_shapes_that_do_not_fit_are_named(t5, case):
    embedded = t5.embed(case.ids)
    with pytest.raises(ValueError, match=r"mask \(5, 149\) does not fit \(5, 150, 16\)"):
        t5.encode(embedded, case.mask[:, 1:])
    with pytest.raises(ValueError, match="7 decoder rows for 5 inputs"):
        t5.decode(torch.zeros(7, 1, dtype=torch.long), embedded, case.mask)


# -------------------------------------------------------- labels, gradients, dropout


LABELS = [[7, EOS], [5, 6, EOS], [40, 9, 8, EOS]]


def test_the_score_of_a_label_is_the_sum_of_its_log_probs(t5, case):
    mask = case.mask
    memory = t5.encode(t5.embed(case.ids), mask)
    scores = t5.score_labels(memory, mask, model.pad(LABELS))
    assert scores.shape == (5, 3)
    for row in range(5):
        this = slice(row, row + 1)
        for k, label in enumerate(LABELS):
            # One input and one label, unpadded: the decoder reads pad and the label so far.
            decoder_ids = torch.tensor([[PAD] + label[:-1]])
            log_probs = t5.decode(decoder_ids, memory[this], mask[this])[0].log_softmax(-1)
            expected = sum(log_probs[i, token].item() for i, token in enumerate(label))
            assert scores[row, k].item() == pytest.approx(expected, rel=1e-5)
            # All labels stand in one row of the decoder: none sees another.
            [[alone]] = t5.score_labels(memory[this], mask[this], torch.tensor([label]))
            assert scores[row, k].item() == pytest.approx(alone.item(), rel=1e-5)


def test_a_frozen_t5_passes_gradients_to_its_prompt(t5, case):
    assert not any(weight.requires_grad for weight in t5.parameters())
    prompts = case.prompts.clone().requires_grad_()
    embedded, mask = with_prompts(t5.embed(case.ids), case.mask, prompts)
    t5.score_labels(t5.encode(embedded, mask), mask, model.pad(LABELS)).sum().backward()
    assert prompts.grad.isfinite().all()
    assert (prompts.grad.abs().sum(-1) > 0).all()  # of every vector


def test_dropout_is_off_until_it_is_set_and_in_train_mode(t5, case):
    inputs = case.ids, case.mask, case.decoder_ids
    plain = logits_of(t5, *inputs)
    assert torch.equal(logits_of(t5.train(), *inputs), plain)
    t5.set_dropout(0.1)
    assert not torch.equal(logits_of(t5, *inputs), logits_of(t5, *inputs))
    assert torch.equal(logits_of(t5.eval(), *inputs), plain)


def test_each_dropout_of_t5_has_an_effect(t5, case):
    inputs = case.ids, case.mask, case.decoder_ids
    plain = logits_of(t5.train(), *inputs)
    for name, module in t5.named_modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.5
            assert not torch.equal(logits_of(t5, *inputs), plain), name
            module.p = 0.0
    t5.decoder.dropout.p = 1.0  # a stack's falls on its output, too: nothing is left of it
    assert not logits_of(t5, *inputs).any()


# ---------------------------------------------------------------- number formats


@pytest.mark.parametrize("dtype, least, most", [(torch.bfloat16, 1e-4, 0.1),
                                                (torch.float16, 1e-5, 0.01)])
def test_half_precision_is_near_fp32(kind, case, dtype, least, most):
    # bf16 has 8 bits: steps of 0.4 %, of which a dozen or so add up in the worst logit.
    t5 = model.load(FIXTURES / kind, dtype)
    assert t5.amp == dtype and model.load(FIXTURES / kind).amp is None
    inputs = case.ids, case.mask, case.decoder_ids
    assert least < difference(logits_of(t5, *inputs).float(), case.logits) < most


def test_the_stream_adds_up_in_fp32_and_in_fp16_wo_stays_there(kind):
    names = model.load(FIXTURES / kind, torch.float16).state_dict()
    for name, weight in names.items():
        assert weight.dtype == (torch.float32 if name.endswith("wo.weight") else torch.float16)
    t5 = model.load(FIXTURES / kind, torch.bfloat16)
    outputs = []
    t5.encoder.blocks[0].register_forward_hook(lambda block, x, out: outputs.append(out))
    t5.encode(t5.embed(torch.tensor([[5, 1]])), torch.ones(1, 2))
    assert outputs[0].dtype == torch.float32
    # 1 * 200 * 1000 = 200,000, which is infinite in fp16
    ff = model.FeedForward(TWO_WIDE).half()
    ff.wi.weight.data = 200 * torch.eye(2).half()
    ff.wo.weight.data = 1000 * torch.eye(2)
    assert ff(torch.ones(1, 1, 2).half()).tolist() == [[[200_000, 200_000]]]


# ------------------------------------------------------------ load, save, initialise


def test_a_saved_t5_is_the_one_that_was_loaded(t5, case, tmp_path):
    assert model.save(t5, tmp_path) == t5.fingerprint
    again = model.load(tmp_path)
    assert (again.config, again.fingerprint) == (t5.config, t5.fingerprint)
    inputs = case.ids, case.mask, case.decoder_ids
    assert torch.equal(logits_of(again, *inputs), logits_of(t5, *inputs))


@pytest.mark.parametrize("changes", [{}, {"feed_forward_proj": "gated-gelu",
                                          "tie_word_embeddings": False}])
def test_random_weights_have_the_scales_that_keep_unit_variance(changes):
    # D = 64, K = 8, H * K = 32, F = 128. The scale K^-0.5 that attention lacks is in q.
    scales = {"q": (64 * 8) ** -0.5, "k": 64 ** -0.5, "v": 64 ** -0.5, "o": 32 ** -0.5,
              "wi": 64 ** -0.5, "wi_0": 64 ** -0.5, "wi_1": 64 ** -0.5, "wo": 128 ** -0.5,
              "shared": 1.0, "lm_head": 64 ** -0.5, "table": 64 ** -0.5}
    config = Config(vocab_size=512, d_model=64, d_kv=8, d_ff=128, num_layers=2,
                    num_decoder_layers=1, num_heads=4, **changes)
    t5 = model.initialise(config, seed=1)
    for name, weight in t5.named_parameters():
        if name.endswith("norm.weight"):
            assert (weight == 1).all()
            continue
        # The spread of n numbers is known to 1 / sqrt(2 n) of itself: four of those.
        tolerance = 4 / math.sqrt(2 * weight.numel())
        expected = scales[name.split(".")[-2]]
        assert weight.std().item() == pytest.approx(expected, rel=tolerance), name
    assert t5.fingerprint == model.initialise(config, seed=1).fingerprint
    assert t5.fingerprint != model.initialise(config, seed=2).fingerprint


def test_the_command_answers_a_text(monkeypatch, capsys):
    folder = str(Path(model.__file__).with_name("toy") / "t5")
    text = "nli sentence1: old cats chased dogs . sentence2: cats chased dogs ."
    monkeypatch.setattr(sys, "argv", ["model.py", folder, text])
    model.main()
    assert capsys.readouterr().out == "entailment\n"
    monkeypatch.setattr(sys, "argv", ["model.py", folder, text, "--max-tokens", "0"])
    with pytest.raises(ValueError, match="--max-tokens is 0, wanted 1 or more"):
        model.main()
    monkeypatch.setattr(sys, "argv", ["model.py", folder])
    with pytest.raises(ValueError, match="required: text; --help lists all flags"):
        model.main()


# ------------------------------------------------------------ the published weights


def published(name):
    """The folder of a published T5 under T5_WEIGHTS; the test is skipped without it."""
    if "T5_WEIGHTS" not in os.environ:
        pytest.skip(f"set T5_WEIGHTS to a folder that holds {name}, with config.json, the weights "
                    "and spiece.model as published")
    folder = Path(os.environ["T5_WEIGHTS"]) / name
    if not folder.is_dir():
        pytest.skip(f"{folder} is not there")
    return folder


@pytest.mark.weights
@pytest.mark.parametrize("name, expected", [("t5-small", -19.0845), ("t5-v1_1-small", -59.0293)])
def test_the_published_weights_give_the_published_score(name, expected):
    folder = published(name)
    t5 = model.load(folder)
    tokenizer = Tokenizer(folder / "spiece.model")
    ids = torch.tensor([tokenizer.encode("Hello there")])
    label = torch.tensor([tokenizer.encode("Hi I am")])
    memory = t5.encode(t5.embed(ids), ids != PAD)
    score = t5.score_labels(memory, ids != PAD, label).item()
    assert score == pytest.approx(expected, abs=1e-4)


@pytest.mark.weights
def test_the_published_t5_small_translates():
    folder = published("t5-small")
    t5 = model.load(folder)
    tokenizer = Tokenizer(folder / "spiece.model")
    ids = torch.tensor([tokenizer.encode(
        "translate English to German: The house is wonderful.")])
    memory = t5.encode(t5.embed(ids), ids != PAD)
    [answer] = t5.generate(memory, ids != PAD, 20)
    assert tokenizer.decode(answer.tolist()) == "Das Haus ist wunderbar."
