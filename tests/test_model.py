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
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from safetensors import safe_open
from safetensors.torch import load_file, save_file

import model
from model import EOS, PAD, Config

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
    assert result.attempted >= 4 and result.failed == 0


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
    with pytest.raises(ValueError, match=r"mask has shape \(5, 149\), the input \(5, 150, 16\)"):
        t5.encode(x, case["mask"][:, 1:])
    with pytest.raises(ValueError, match="7 decoder rows cannot share the memory of 5 inputs"):
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


@pytest.mark.parametrize("cached", [False, True])
def test_rows_that_share_a_memory_equal_a_repeated_memory(t5, case, cached):
    memory, mask = t5.encode(t5.embed(case["ids"]), case["mask"]), case["mask"]
    rows = case["decoder_ids"].repeat_interleave(3, dim=0)  # 3 rows for each of 5 inputs,
    rows[:, 1:] = (rows[:, 1:] + torch.arange(15)[:, None]) % 64  # no two of them alike
    repeated = t5.decode(rows, memory.repeat_interleave(3, 0), mask.repeat_interleave(3, 0))
    if cached:
        cache = []
        shared = torch.cat([t5.decode(piece, memory, mask, cache)
                            for piece in rows.split([30, 1, 1], dim=1)], dim=1)
    else:
        shared = t5.decode(rows, memory, mask)
    assert relative_error(shared, repeated) < TOLERANCE


def test_a_frozen_model_passes_gradients_to_its_prompts(t5, case):
    prompts = case["prompts"].clone().requires_grad_()
    x, mask = with_prompts(t5.embed(case["ids"]), case["mask"], prompts)
    t5.score_labels(t5.encode(x, mask), mask, LABELS).sum().backward()
    assert prompts.grad.isfinite().all() and (prompts.grad.abs().sum(-1) > 0).all()
    assert all(weight.grad is None for weight in t5.parameters())


def test_dropout_is_off_unless_set(t5, case):
    assert torch.equal(run(t5, case), run(t5, case))
    t5.dropout = 0.1
    x, mask = t5.embed(case["ids"]), case["mask"]
    memory = t5.encode(x, mask)
    assert not torch.equal(memory, t5.encode(x, mask))
    assert not torch.equal(t5.decode(case["decoder_ids"], memory, mask),
                           t5.decode(case["decoder_ids"], memory, mask))


# ------------------------------------------------------------- the checkpoint


def write(folder, tensors, **changes):
    """A checkpoint folder like v1_0, with these tensors and changes of config.json."""
    config = json.loads((FIXTURES / "v1_0" / "config.json").read_text()) | changes
    (folder / "config.json").write_text(json.dumps(config))
    save_file(tensors, folder / "model.safetensors")
    return folder


@pytest.fixture
def tensors():
    """The tensors of v1_0, to be spoilt."""
    return load_file(FIXTURES / "v1_0" / "model.safetensors")


@pytest.mark.parametrize("form", ["v1_0_sharded", "v1_0_bin"])
def test_the_other_forms_hold_the_same_model(form):
    case = read_expected("v1_0")
    single, other = model.load(FIXTURES / "v1_0"), model.load(FIXTURES / form)
    assert torch.equal(run(other, case), run(single, case))
    assert other.fingerprint == single.fingerprint


@pytest.mark.skipif(not os.path.exists("/proc/self/maps"), reason="needs Linux: /proc/self/maps")
@pytest.mark.parametrize("form", ["v1_0", "v1_0_sharded", "v1_0_bin"])
def test_weights_are_mapped_not_copied(form):
    t5 = model.load(FIXTURES / form)
    # "from-to permissions offset device inode path": what each range of memory belongs to.
    lines = [line.split(None, 5) for line in Path("/proc/self/maps").read_text().splitlines()]
    ranges = [([int(end, 16) for end in line[0].split("-")], line[1], line[5])
              for line in lines if len(line) == 6]
    for weight in t5.parameters():
        at = weight.data_ptr()
        [(permissions, path)] = [rest for (start, end), *rest in ranges if start <= at < end]
        assert Path(path).parent == (FIXTURES / form).resolve()
        assert permissions == "rw-p"  # private: to write there changes no file


def test_a_loaded_model_is_frozen(t5):
    assert not any(weight.requires_grad for weight in t5.parameters())


def test_published_names(t5, kind):
    with safe_open(FIXTURES / kind / "model.safetensors", framework="pt") as file:
        published = set(file.keys())
    assert {model.published_name(name) for name in t5.state_dict()} == published
    assert len(t5.state_dict()) == len(published)  # no two of ours share a name


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


def test_save_over_files_that_are_mapped(tmp_path):
    shutil.copytree(FIXTURES / "v1_0", tmp_path, dirs_exist_ok=True)
    case, first, second = read_expected("v1_0"), model.load(tmp_path), model.load(tmp_path)
    second.shared.weight.mul_(2)
    model.save(second, tmp_path)  # the first still reads the file that was there
    assert relative_error(run(first, case), case["logits"]) < TOLERANCE
    assert torch.equal(run(model.load(tmp_path), case), run(second, case))


def test_tied_checkpoint_with_copies_of_the_embedding(tensors, tmp_path):
    names = ("lm_head.weight", "encoder.embed_tokens.weight", "decoder.embed_tokens.weight")
    copies = {name: tensors["shared.weight"].clone() for name in names}
    t5 = model.load(write(tmp_path, tensors | copies))
    plain, case = model.load(FIXTURES / "v1_0"), read_expected("v1_0")
    assert torch.equal(run(t5, case), run(plain, case))
    assert t5.fingerprint == plain.fingerprint


def test_number_of_decoder_layers_is_that_of_layers_unless_given(tensors, tmp_path):
    # The published t5-small was made when there was only one number.
    write(tmp_path, tensors, num_layers=2)
    config = json.loads((tmp_path / "config.json").read_text())
    del config["num_decoder_layers"]
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert Config.read(tmp_path / "config.json").num_decoder_layers == 2


def test_weights_that_do_not_fit_are_all_named(tensors, tmp_path):
    del tensors["encoder.final_layer_norm.weight"]
    tensors["stranger.weight"] = torch.zeros(3)
    tensors["shared.weight"] = tensors["shared.weight"][:60].clone()
    with pytest.raises(ValueError) as error:
        model.load(write(tmp_path, tensors))
    message = str(error.value)
    assert str(tmp_path) in message
    assert "missing: encoder.final_layer_norm.weight." in message
    assert "unexpected: stranger.weight." in message
    assert "mismatched: shared.weight is (60, 16), config.json says (64, 16)." in message


def test_untied_checkpoint_needs_its_output_layer(tensors, tmp_path):
    with pytest.raises(ValueError, match=r"missing: lm_head\.weight\."):
        model.load(write(tmp_path, tensors, tie_word_embeddings=False))


def test_missing_files_are_named_beside_what_was_found(tmp_path):
    with pytest.raises(ValueError, match=r"no config\.json \(found: no folder\)"):
        model.load(tmp_path / "nowhere")
    with pytest.raises(ValueError, match=r"no config\.json \(found: nothing\)"):
        model.load(tmp_path)
    shutil.copy(FIXTURES / "v1_0_sharded" / "config.json", tmp_path)
    with pytest.raises(ValueError, match="wanted model.safetensors, model.safetensors.index.json "
                                         "or pytorch_model.bin; found config.json"):
        model.load(tmp_path)
    for name in ("model.safetensors.index.json", "model-00002-of-00003.safetensors"):
        shutil.copy(FIXTURES / "v1_0_sharded" / name, tmp_path)
    with pytest.raises(ValueError, match="names files that are not there: "
                       "model-00001-of-00003.safetensors, model-00003-of-00003.safetensors"):
        model.load(tmp_path)


def test_half_a_download(tmp_path):
    shutil.copy(FIXTURES / "v1_0" / "config.json", tmp_path)
    whole = (FIXTURES / "v1_0" / "model.safetensors").read_bytes()
    (tmp_path / "model.safetensors").write_bytes(whole[:len(whole) // 2])
    with pytest.raises(ValueError, match=r"model\.safetensors cannot be read, is the download"):
        model.load(tmp_path)


class Stowaway:
    """Pickled, it would make a folder wherever it is unpickled."""

    def __init__(self, folder):
        self.folder = folder

    def __reduce__(self):
        return os.mkdir, (str(self.folder),)


def test_nothing_in_a_bin_file_is_executed(tmp_path):
    shutil.copy(FIXTURES / "v1_0" / "config.json", tmp_path)
    torch.save({"shared.weight": Stowaway(tmp_path / "made")}, tmp_path / "pytorch_model.bin")
    with pytest.raises(Exception, match="mkdir"):
        model.load(tmp_path)
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize("text, message", [
    ("{", "not JSON"),
    ('{"d_model": 16, "num_layers": 2}', "it lacks vocab_size, d_kv, d_ff, num_heads"),
    ('{"vocab_size": 64, "d_model": 16, "d_kv": 6, "d_ff": 32, "num_layers": 2, "num_heads": 3, '
     '"feed_forward_proj": "gated-silu"}', "feed_forward_proj is 'gated-silu'"),
])
def test_config_that_is_not_of_a_known_t5(text, message, tmp_path):
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(ValueError, match=message):
        Config.read(tmp_path / "config.json")


def test_leftover_of_the_published_v1_0(tensors, tmp_path):
    # Files made with transformers before 4.0 hold a table of positions for the
    # cross-attention, which T5 does not have. The reference skips this one name too.
    tensors["decoder.block.0.layer.1.EncDecAttention.relative_attention_bias.weight"] = (
        torch.ones(32, 3))
    t5, case = model.load(write(tmp_path, tensors)), read_expected("v1_0")
    assert relative_error(run(t5, case), case["logits"]) < TOLERANCE


def test_bin_file_from_before_torch_1_6(tmp_path):
    # No zip archive then, so that it can only be read. T5 was published in 2019.
    shutil.copy(FIXTURES / "v1_0_bin" / "config.json", tmp_path)
    weights = torch.load(FIXTURES / "v1_0_bin" / "pytorch_model.bin", weights_only=True)
    torch.save(weights, tmp_path / "pytorch_model.bin", _use_new_zipfile_serialization=False)
    t5, case = model.load(tmp_path), read_expected("v1_0")
    assert relative_error(run(t5, case), case["logits"]) < TOLERANCE


def test_untied_config_as_transformers_5_writes_it(tmp_path):
    # It writes tie_word_embeddings true whatever it holds, and this flag beside it.
    shutil.copytree(FIXTURES / "v1_1", tmp_path, dirs_exist_ok=True)
    config = json.loads((tmp_path / "config.json").read_text())
    config |= {"tie_word_embeddings": True, "scale_decoder_outputs": False}
    (tmp_path / "config.json").write_text(json.dumps(config))
    t5, case = model.load(tmp_path), read_expected("v1_1")
    assert relative_error(run(t5, case), case["logits"]) < TOLERANCE


def test_output_layer_that_is_no_copy_is_not_dropped_in_silence(tensors, tmp_path):
    tensors["lm_head.weight"] = tensors["shared.weight"] + 1
    with pytest.raises(ValueError, match=r"lm_head\.weight"):
        model.load(write(tmp_path, tensors))


# ------------------------------------------------------------------- the dtype


def test_bf16_under_autocast_is_close(t5, case):
    with torch.autocast("cpu", torch.bfloat16):
        logits = run(t5, case)
    # bf16 has 8 bits: steps of 0.4 %, of which a dozen or so pile up in the worst logit.
    assert 1e-4 < relative_error(logits.float(), case["logits"]) < 0.1


def test_bf16_weights_are_close(kind, case):
    t5 = model.load(FIXTURES / kind, dtype=torch.bfloat16)
    assert {weight.dtype for weight in t5.parameters()} == {torch.bfloat16}
    assert 1e-4 < relative_error(run(t5, case).float(), case["logits"]) < 0.1


def test_fp16_keeps_wo_in_fp32(kind):
    for name, weight in model.load(FIXTURES / kind, dtype=torch.float16).state_dict().items():
        assert weight.dtype == (torch.float32 if name.endswith("wo.weight") else torch.float16)


def test_fp16_under_autocast_is_close(t5, case):
    with torch.autocast("cpu", torch.float16):
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


# -------------------------------------------------- fingerprint and initialise


def test_fingerprint(tmp_path):
    first = model.load(FIXTURES / "v1_0")
    half = model.load(FIXTURES / "v1_0", dtype=torch.bfloat16)
    assert half.fingerprint == first.fingerprint
    model.save(half, tmp_path)  # the same weights in a file of half the size
    assert model.load(tmp_path).fingerprint == first.fingerprint
    assert model.load(FIXTURES / "v1_1").fingerprint != first.fingerprint


@pytest.mark.parametrize("name", ["shared.weight", "decoder.final_layer_norm.weight",
                                  "encoder.block.1.layer.0.SelfAttention.q.weight"])
def test_fingerprint_sees_a_change_of_any_tensor(tensors, name):
    before = model.fingerprint(tensors)
    assert model.fingerprint(tensors | {name: tensors[name] * 1.1}) != before
    # Of equal numbers in another shape or under another name, too.
    assert model.fingerprint(tensors | {name: tensors[name][None]}) != before
    renamed = {"other" if n == name else n: tensor for n, tensor in tensors.items()}
    assert model.fingerprint(renamed) != before


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
