"""plumbing/checkpoint.py: names, configurations, the forms of a file, what fits, fingerprints.

    python -m pytest tests/plumbing/test_checkpoint.py

Oracle: files that Hugging Face transformers wrote (tests/fixtures), the same files spoilt by
hand, and the fingerprint of the toy T5 that its shipped prompts name.
"""

import dataclasses
import json
import os
import re
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from model import Config
from plumbing import checkpoint

ROOT = Path(__file__).parents[2]
FIXTURES = ROOT / "tests" / "fixtures"
FIELDS = dataclasses.fields(Config)
ORIGINAL = load_file(FIXTURES / "v1_0" / "model.safetensors")
SHAPES = {name: tuple(tensor.shape) for name, tensor in ORIGINAL.items()}
Q = "encoder.block.1.layer.0.SelfAttention.q.weight"


@pytest.fixture
def tensors():
    return {name: tensor.clone() for name, tensor in ORIGINAL.items()}


@pytest.fixture
def t5(tmp_path):
    """A folder with the configuration of v1_0, without weights."""
    shutil.copy(FIXTURES / "v1_0" / "config.json", tmp_path)
    return tmp_path


def write(folder, tensors, form="safetensors"):
    path = folder / {"safetensors": "model.safetensors", "bin": "pytorch_model.bin"}[form]
    (save_file if form == "safetensors" else torch.save)(tensors, path)
    return path


def refusal(folder):
    """The one line that says why the weights of a folder are not read."""
    with pytest.raises(ValueError) as error:
        checkpoint.read_weights(folder, SHAPES, tied=True)
    message = str(error.value)
    assert str(folder) in message and len(message.splitlines()) == 1
    return message


def assert_original(folder):
    weights = checkpoint.read_weights(folder, SHAPES, tied=True)
    assert list(weights) == list(SHAPES)
    assert all(torch.equal(weights[name], ORIGINAL[name]) for name in SHAPES)
    return weights


# ----------------------------------------------------------------- configuration


def read_config(folder, **changes):
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    return checkpoint.read_config(folder, FIELDS)


def test_a_configuration(t5):
    config = read_config(t5, num_layers=3, num_decoder_layers=None)
    assert (config["d_model"], config["d_kv"], config["tie_word_embeddings"]) == (16, 6, True)
    # The published t5-small has one number for both stacks.
    assert config["num_decoder_layers"] == 3
    assert list(config) == [field.name for field in FIELDS]
    # transformers 5 writes tie_word_embeddings true whatever it holds, and this beside it.
    config = read_config(t5, tie_word_embeddings=True, scale_decoder_outputs=False)
    assert config["tie_word_embeddings"] is False


@pytest.mark.parametrize("name, value", [
    ("d_model", -8), ("num_heads", "2"), ("num_layers", 1000), ("vocab_size", 10 ** 18),
    ("d_kv", True), ("d_ff", [16]), ("num_decoder_layers", 0), ("layer_norm_epsilon", "1e-6"),
    ("layer_norm_epsilon", float("nan")), ("tie_word_embeddings", "false"),
    ("feed_forward_proj", "gated-silu"), ("relative_attention_num_buckets", 3),
    ("relative_attention_max_distance", 16), ("model_type", "bert"), ("pad_token_id", 3),
    ("scale_decoder_outputs", "false"), ("eos_token_id", True), ("decoder_start_token_id", 1)])
def test_a_setting_that_no_t5_has_is_named(name, value, t5):
    with pytest.raises(ValueError, match=f"config.json: {name} is .*; wanted "):
        read_config(t5, **{name: value})


def test_what_is_no_configuration_of_a_t5(tmp_path):
    with pytest.raises(ValueError, match=r"config\.json is missing, or no file"):
        checkpoint.read_config(tmp_path, FIELDS)
    (tmp_path / "config.json").write_text('{"d_model": 16, "num_layers": 2}')
    with pytest.raises(ValueError, match="it lacks vocab_size, d_kv, d_ff, num_heads$"):
        checkpoint.read_config(tmp_path, FIELDS)


# ----------------------------------------------------------------- forms of a file


@pytest.mark.parametrize("form", ["v1_0", "v1_0_sharded", "v1_0_bin"])
def test_all_forms_hold_the_same_model(form):
    assert_original(FIXTURES / form)


def test_shards_of_pickles_and_a_pickle_from_before_torch_1_6(t5, tensors):
    weight_map = {}
    for shard, names in (("a.bin", list(tensors)[:20]), ("b.bin", list(tensors)[20:])):
        torch.save({name: tensors[name] for name in names}, t5 / shard,
                   _use_new_zipfile_serialization=shard == "a.bin")
        weight_map |= dict.fromkeys(names, shard)
    (t5 / "pytorch_model.bin.index.json").write_text(json.dumps({"weight_map": weight_map}))
    assert_original(t5)
    (t5 / "b.bin").unlink()
    assert "b.bin is missing, or no file" in refusal(t5)


@pytest.mark.parametrize("form", ["safetensors", "bin"])
def test_a_file_that_is_overwritten_later_changes_nothing(form, t5, tensors):
    path = write(t5, tensors, form)
    weights = assert_original(t5)
    with open(path, "r+b") as file:  # in place, as cp does
        file.write(bytes(path.stat().st_size))
    assert all(torch.equal(weights[name], ORIGINAL[name]) for name in SHAPES)


@pytest.mark.parametrize("weight_map", [
    None, [], "model-00001-of-00003.safetensors", {"shared.weight": 3}, {"shared.weight": ".."},
    {"shared.weight": "../v1_0/model.safetensors"}, {"shared.weight": "/etc/passwd"}])
def test_an_index_names_files_beside_it_only(weight_map, t5):
    (t5 / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))
    message = refusal(t5)
    assert "index.json: weight_map" in message and "; wanted " in message


def test_a_tensor_in_two_shards_is_named(tmp_path):
    shutil.copytree(FIXTURES / "v1_0_sharded", tmp_path, dirs_exist_ok=True)
    first, second, _ = sorted(tmp_path.glob("*.safetensors"))
    save_file(load_file(first) | load_file(second), second)
    assert "which another shard holds as well" in refusal(tmp_path)


class Stowaway:
    """Pickled, it would make a folder wherever it is unpickled."""

    def __reduce__(self):
        return os.mkdir, ("made",)


def test_nothing_in_a_pickle_is_executed(t5, monkeypatch):
    monkeypatch.chdir(t5)
    write(t5, {"shared.weight": Stowaway()}, "bin")
    message = refusal(t5)
    assert "pytorch_model.bin cannot be read, is the download complete?" in message
    assert "posix.mkdir" in message and "weights_only" not in message  # nor is it advised
    assert not (t5 / "made").exists()


@pytest.mark.parametrize("form", ["safetensors", "bin"])
def test_missing_and_half_files_are_named(form, t5, tensors):
    assert "holds no weights: wanted model.safetensors or model.safetensors.index" in refusal(t5)
    path = write(t5, tensors, form)
    content = path.read_bytes()
    for half in (b"", content[:len(content) // 2]):
        path.write_bytes(half)
        assert f"{path} cannot be read, is the download complete?" in refusal(t5)
    path.unlink()
    os.mkfifo(path)  # which is not waited for
    assert f"{path} is missing, or no file" in refusal(t5)


# ---------------------------------------------------------------------- what fits


def test_all_that_does_not_fit_is_named_at_once(t5, tensors):
    del tensors["encoder.final_layer_norm.weight"]
    tensors["stranger\n.weight"] = torch.zeros(3)
    tensors["shared.weight"] = torch.zeros(60, 16)
    tensors[Q] = tensors[Q] * float("nan")
    write(t5, tensors)
    message = refusal(t5)
    assert "missing: encoder.final_layer_norm.weight." in message
    assert r"unexpected: 'stranger\n.weight'." in message
    assert "shared.weight is (60, 16), wanted (64, 16)" in message
    assert f"mismatched: {Q} holds numbers that are not finite; " in message


FLAWS = [
    (lambda w: w.to(torch.int8), "q.weight is torch.int8, wanted one of torch.float32"),
    (lambda w: w > 0, "is torch.bool"), (lambda w: w.to(torch.complex64), "is torch.complex64"),
    (lambda w: w.to(torch.float8_e4m3fn), "is torch.float8"),
    (lambda w: w[None].clone(), "is (1, 18, 16), wanted (18, 16)"),
    (lambda w: w / 0, "not finite"), (lambda w: w.double() * 1e300, "not finite")]  # in fp32
OF_PICKLES = [  # what only a pickle can hold
    (lambda w: w.to_sparse(), "is sparse"), (lambda w: w.to("meta"), "without numbers"),
    (lambda w: w.tolist(), "is no tensor but list")]


@pytest.mark.parametrize("form, flaw, message", [
    *(("safetensors", *flaw) for flaw in FLAWS), *(("bin", *flaw) for flaw in OF_PICKLES)])
def test_a_tensor_that_is_no_weights_is_named(form, flaw, message, t5, tensors):
    tensors[Q] = flaw(tensors[Q])
    write(t5, tensors, form)
    assert message in refusal(t5)


def test_a_pickle_of_something_else_is_named(t5):
    write(t5, [torch.zeros(3)], "bin")
    assert "pytorch_model.bin holds a list, wanted tensors by name" in refusal(t5)


NAMES = ["shared.weight", "encoder.embed_tokens.weight", "decoder.embed_tokens.weight",
         "lm_head.weight"]


@pytest.mark.parametrize("names", [*([name] for name in NAMES), NAMES])
def test_any_copy_of_a_tied_embedding_is_enough_and_all_are_equal(names, t5, tensors):
    embedding = tensors.pop("shared.weight")
    # A table that files of 2020 have, which no T5 uses.
    leftover = "decoder.block.0.layer.1.EncDecAttention.relative_attention_bias.weight"
    tensors[leftover] = torch.ones(32, 3)
    tensors |= {name: embedding.clone() for name in names}
    write(t5, tensors)
    assert_original(t5)
    for other in set(NAMES[1:]) - {names[0]}:
        write(t5, tensors | {other: embedding + 1})
        assert re.search(f"({names[0]} and {other}|{other} and {names[0]}) differ", refusal(t5))


def test_an_untied_output_layer_is_no_copy(t5, tensors):
    write(t5, tensors)
    shapes = SHAPES | {"lm_head.weight": (64, 16)}
    with pytest.raises(ValueError, match=r"missing: lm_head\.weight\."):
        checkpoint.read_weights(t5, shapes, tied=False)
    tensors["lm_head.weight"] = tensors["shared.weight"] + 1
    write(t5, tensors)
    weights = checkpoint.read_weights(t5, shapes, tied=False)
    assert torch.equal(weights["lm_head.weight"], tensors["lm_head.weight"])


# -------------------------------------------------------------------- fingerprint


def test_the_fingerprint_of_the_toy_t5_is_the_one_that_its_prompts_name():
    config = checkpoint.read_config(ROOT / "toy/t5", FIELDS)
    tensors = load_file(ROOT / "toy/t5/model.safetensors")
    made_by = json.loads((ROOT / "toy/prompts/toy-nli-0/prompt.json").read_text())
    assert made_by["fingerprint"].startswith(checkpoint.fingerprint(config, tensors) + "-")


def test_a_fingerprint_sees_every_change(tensors):
    config = {"layer_norm_epsilon": 1e-6}
    changed = tensors[Q].clone()
    changed[-1, -1] += 1e-3  # a single number
    others = [tensors | {Q: changed}, tensors | {Q: tensors[Q][None]},
              tensors | {Q: tensors[Q].half()},
              {"other" if name == Q else name: tensor for name, tensor in tensors.items()}]
    names = [checkpoint.fingerprint(config, other) for other in [tensors, *others]]
    names.append(checkpoint.fingerprint({"layer_norm_epsilon": 1e-4}, tensors))
    assert len(set(names)) == 6


def test_what_is_written_is_read_again(tmp_path, tensors):
    config = checkpoint.read_config(FIXTURES / "v1_0", FIELDS)
    name = checkpoint.write(tmp_path / "again", config, tensors)
    assert name == checkpoint.fingerprint(config, assert_original(tmp_path / "again"))
    assert checkpoint.read_config(tmp_path / "again", FIELDS) == config
    written = json.loads((tmp_path / "again" / "config.json").read_text())
    assert written["model_type"] == "t5" and written["decoder_start_token_id"] == 0
