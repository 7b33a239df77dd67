"""plumbing/checkpoint.py: the forms of a checkpoint, its names, what fits, what identifies it.

    python -m pytest tests/test_checkpoint.py    # seconds, nothing to download

Oracle: what Hugging Face transformers wrote and computed (tests/fixtures, see
test_model.py), files spoilt by hand, and the same model in another form.
"""

import doctest
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

import model
from model import Config
from plumbing import checkpoint
from plumbing.tokenizer import Tokenizer
from reference import FIXTURES, TOLERANCE, read_expected, relative_error, run


def test_examples_in_the_docstrings():
    result = doctest.testmod(checkpoint)
    assert result.attempted > 0 and result.failed == 0


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


@pytest.mark.parametrize("kind", ["v1_0", "v1_1"])
def test_published_names(kind):
    t5 = model.load(FIXTURES / kind)
    with safe_open(FIXTURES / kind / "model.safetensors", framework="pt") as file:
        published = set(file.keys())
    assert {checkpoint.published_name(name) for name in t5.state_dict()} == published
    assert len(t5.state_dict()) == len(published)  # no two of ours share a name


MOST = "int(open('/proc/self/status').read().split('VmHWM:')[1].split()[0]) * 1024"


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    """A folder with a T5 of 90 MB."""
    folder = tmp_path_factory.mktemp("large")
    model.save(model.initialise(Config(2500, 512, 64, 2048, 4, 2, 8)), folder)
    return folder


@pytest.mark.beside
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="only Linux tells of memory")
@pytest.mark.parametrize("dtype, share", [("float32", 0.45), ("bfloat16", 0.9)])
def test_loading_takes_no_second_copy(dtype, share, large):
    """Most memory that a process takes to load a T5, beside the size of its file.

    fp32: every number is read, for the fingerprint, and none stays but of one tensor at a time, the
    largest a twentieth of the file here. bf16: the short copy stands beside that.
    """
    size = (large / "model.safetensors").stat().st_size
    assert size > 80e6
    told = subprocess.run([sys.executable, "-c", f"""import torch, model
model.load({str(FIXTURES / 'v1_0')!r}, torch.{dtype})  # what is needed once
before = {MOST}
t5 = model.load({str(large)!r}, torch.{dtype})
print({MOST} - before, t5.fingerprint)"""], capture_output=True, text=True, check=True)
    most, fingerprint = told.stdout.split()
    assert int(most) < share * size
    assert fingerprint == model.load(large).fingerprint


def test_save_over_files_that_are_mapped(tmp_path):
    shutil.copytree(FIXTURES / "v1_0", tmp_path, dirs_exist_ok=True)
    case, first, second = read_expected("v1_0"), model.load(tmp_path), model.load(tmp_path)
    second.shared.weight.mul_(2)
    model.save(second, tmp_path)  # the first still reads the file that was there
    assert relative_error(run(first, case), case["logits"]) < TOLERANCE
    assert torch.equal(run(model.load(tmp_path), case), run(second, case))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_file_that_is_replaced_while_it_is_read_is_refused(dtype, tmp_path, monkeypatch):
    """Not the weights of one T5 under the name of another, nor some of each."""
    shutil.copytree(FIXTURES / "v1_0", tmp_path, dirs_exist_ok=True)
    other, fitting = model.load(tmp_path), checkpoint.fitting
    other.shared.weight.mul_(2)

    def meanwhile(*told):
        found = fitting(*told)
        model.save(other, tmp_path)
        return found

    monkeypatch.setattr(checkpoint, "fitting", meanwhile)
    with pytest.raises(ValueError, match="model.safetensors .* written to while it was read"):
        model.load(tmp_path, dtype)


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
    assert Config.read(tmp_path).num_decoder_layers == 2


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
    with pytest.raises(ValueError, match=r"nowhere holds no config\.json \(found: no folder\)"):
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
    with pytest.raises(ValueError, match="model.bin cannot be read, .* GLOBAL posix.mkdir"):
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
        Config.read(tmp_path)


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


def test_fingerprint(tmp_path):
    first = model.load(FIXTURES / "v1_0")
    half = model.load(FIXTURES / "v1_0", dtype=torch.bfloat16)
    assert half.fingerprint == first.fingerprint
    model.save(first, tmp_path / "again")
    assert model.load(tmp_path / "again").fingerprint == first.fingerprint
    model.save(half, tmp_path / "half")  # rounded: other numbers
    assert model.load(tmp_path / "half").fingerprint != first.fingerprint
    assert model.load(FIXTURES / "v1_1").fingerprint != first.fingerprint


@pytest.mark.parametrize("name", ["shared.weight", "decoder.final_layer_norm.weight",
                                  "encoder.block.1.layer.0.SelfAttention.q.weight"])
def test_fingerprint_sees_a_change_of_any_tensor(tensors, name):
    before = checkpoint.fingerprint({}, tensors)
    assert checkpoint.fingerprint({}, tensors | {name: tensors[name] * 1.1}) != before
    one = tensors[name].clone()
    one.view(-1)[len(one.view(-1)) // 3] += 1e-3  # a single number, whichever
    assert checkpoint.fingerprint({}, tensors | {name: one}) != before
    # Of equal numbers in another shape or under another name, too.
    assert checkpoint.fingerprint({}, tensors | {name: tensors[name][None]}) != before
    renamed = {"other" if n == name else n: tensor for n, tensor in tensors.items()}
    assert checkpoint.fingerprint({}, renamed) != before


def test_fingerprint_sees_the_settings(tmp_path):
    """An edited layer_norm_epsilon makes another T5 of the same weights."""
    shutil.copytree(FIXTURES / "v1_0", tmp_path / "t5")
    file = tmp_path / "t5" / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"layer_norm_epsilon": 1e-4}))
    before = model.load(FIXTURES / "v1_0").fingerprint
    assert model.load(tmp_path / "t5").fingerprint != before


def read_only(**_):
    raise PermissionError(30, "Read-only file system")


def test_the_fingerprint_of_large_files_is_kept_beside_them(tmp_path, monkeypatch):
    shutil.copytree(FIXTURES / "v1_0", tmp_path / "t5")
    first = model.load(tmp_path / "t5").fingerprint
    assert not (tmp_path / "t5" / "fingerprint.json").exists()  # a small one is not
    monkeypatch.setattr(checkpoint, "LARGE", 0)
    with monkeypatch.context() as patch:  # a folder that cannot be written to
        patch.setattr("plumbing.files.tempfile.TemporaryDirectory", read_only)
        assert model.load(tmp_path / "t5").fingerprint == first
    assert not (tmp_path / "t5" / "fingerprint.json").exists()
    assert model.load(tmp_path / "t5").fingerprint == first
    kept = json.loads((tmp_path / "t5" / "fingerprint.json").read_text())
    assert kept["fingerprint"] == first
    with monkeypatch.context() as patch:  # read, not computed
        patch.setattr(checkpoint.hashlib, "sha256", None)
        assert model.load(tmp_path / "t5").fingerprint == first
    t5 = model.load(tmp_path / "t5")
    t5.shared.weight[3] = 0  # other weights of the same size, written later
    model.save(t5, tmp_path / "t5")
    assert model.load(tmp_path / "t5").fingerprint != first


# ------------------------------------------------------------ altered, or not of a T5


def refused(folder):
    """The one line that says why this checkpoint is not read."""
    with pytest.raises(ValueError) as error:
        model.load(folder)
    assert str(folder) in str(error.value) and len(str(error.value).splitlines()) == 1
    return str(error.value)


@pytest.mark.parametrize("name, value", [
    ("d_model", -8), ("num_heads", "2"), ("num_layers", 10 ** 6), ("vocab_size", 10 ** 18),
    ("d_kv", True), ("d_ff", [16]), ("num_layers", 0), ("layer_norm_epsilon", float("nan")),
    ("layer_norm_epsilon", "1e-6"), ("tie_word_embeddings", "false"),
    ("feed_forward_proj", "gated-silu"), ("num_layers", 1000), ("d_model", 10 ** 7),
    ("relative_attention_num_buckets", 3), ("relative_attention_max_distance", 16),
    ("model_type", "bert"), ("scale_decoder_outputs", "false"), ("pad_token_id", 3),
    ("eos_token_id", True), ("decoder_start_token_id", 1)])
def test_a_setting_that_no_t5_has_is_named(name, value, tmp_path):
    shutil.copytree(FIXTURES / "v1_1", tmp_path / "t5")
    file = tmp_path / "t5" / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {name: value}))
    with pytest.raises(ValueError, match=f"config.json: {name} is .*; wanted "):
        model.load(tmp_path / "t5")


@pytest.mark.parametrize("content", [b"", b"[]", b"5", b"{" * 9, b"[" * 10 ** 5, b"\xff{}",
                                     b'{"d_ff": ' + b"1" * 5000 + b"}"])
@pytest.mark.parametrize("form, name", [("v1_0", "config.json"),
                                        ("v1_0_sharded", "model.safetensors.index.json")])
def test_json_that_is_none_is_named(form, name, content, tmp_path):
    shutil.copytree(FIXTURES / form, tmp_path / "t5")
    (tmp_path / "t5" / name).write_bytes(content)
    assert re.search(f"{name} (is not JSON: |holds .*, wanted an object)", refused(tmp_path / "t5"))


@pytest.mark.parametrize("make", [Path.mkdir, os.mkfifo, lambda path: path.symlink_to("nowhere"),
                                  lambda path: path.symlink_to("/dev/zero")])
@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "pytorch_model.bin",
                                  "model.safetensors.index.json", "spiece.model"])
def test_what_is_no_file_is_not_waited_for(name, make, tmp_path):
    shutil.copy(FIXTURES / "v1_0" / "config.json", tmp_path)
    (tmp_path / name).unlink(missing_ok=True)
    make(tmp_path / name)
    with pytest.raises(ValueError, match=f"{name} is no file"):
        Tokenizer(tmp_path / name) if name == "spiece.model" else model.load(tmp_path)


@pytest.mark.parametrize("named", [
    None, [], "model-00001-of-00003.safetensors", {"shared.weight": 3}, {"shared.weight": ".."},
    {"shared.weight": "../v1_0/model.safetensors"}, {"shared.weight": "/etc/passwd"},
    {"shared.weight": "pytorch_model.bin"}])
def test_an_index_names_files_of_its_folder_only(named, tmp_path):
    shutil.copytree(FIXTURES / "v1_0_sharded", tmp_path / "t5")
    (tmp_path / "t5" / "model.safetensors.index.json").write_text(json.dumps({"weight_map": named}))
    assert re.search("index.json: weight_map.* is .*; wanted ", refused(tmp_path / "t5"))


def test_a_tensor_that_stands_in_two_files_is_named(tmp_path):
    shutil.copytree(FIXTURES / "v1_0_sharded", tmp_path / "t5")
    files = sorted((tmp_path / "t5").glob("*.safetensors"))
    save_file(load_file(files[0]) | load_file(files[1]), files[1])
    assert "which stands in another file as well" in refused(tmp_path / "t5")


NAME = "encoder.block.1.layer.0.SelfAttention.q.weight"
FLAWS = [
    (lambda w: w.to(torch.int8), "no weights: .*q.weight is torch.int8, wanted float32"),
    (lambda w: w > 0, "is torch.bool"), (lambda w: w.to(torch.complex64), "is torch.complex64"),
    (lambda w: w.to(torch.float8_e4m3fn), "is torch.float8"),
    (lambda w: w.flatten(), "mismatched: "), (lambda w: w[None].clone(), "mismatched: "),
    (lambda w: w * float("nan"), "q.weight holds numbers that are not finite"),
    (lambda w: w / 0, "not finite"), (lambda w: w.double() * 1e300, "not finite")]  # in fp32
OF_PICKLES = [  # what only a pickle can hold
    (lambda w: w.to_sparse(), "is sparse"), (lambda w: w.to("meta"), "without numbers"),
    (lambda w: w[:1, :1].clone().expand(w.shape), "more numbers than its file"),
    (lambda w: w.tolist(), "no tensors by name"), (lambda w: None, "no tensors by name")]


@pytest.mark.parametrize("form, flaw, message", [
    *(("safetensors", *flaw) for flaw in FLAWS), *(("bin", *flaw) for flaw in FLAWS + OF_PICKLES)])
def test_numbers_that_are_no_weights_are_named(form, flaw, message, tensors, tmp_path):
    tensors[NAME] = flaw(tensors[NAME])
    if form == "bin":
        shutil.copy(FIXTURES / "v1_0" / "config.json", tmp_path)
        torch.save(tensors, tmp_path / "pytorch_model.bin")
    else:
        write(tmp_path, tensors)
    assert re.search(message, refused(tmp_path))


@pytest.mark.parametrize("content", [
    [1, 2], None, torch.ones(3), {3: torch.ones(3)}, {"state_dict": {"shared.weight": 1}}])
def test_a_bin_file_of_something_else(content, tmp_path):
    shutil.copy(FIXTURES / "v1_0" / "config.json", tmp_path)
    torch.save(content, tmp_path / "pytorch_model.bin")
    assert "pytorch_model.bin holds no tensors by name" in refused(tmp_path)


def test_an_output_layer_without_an_embedding(tensors, tmp_path):
    tensors["lm_head.weight"] = tensors.pop("shared.weight")
    assert "missing: shared.weight." in refused(write(tmp_path, tensors))


def test_a_tuned_t5_is_the_one_that_was_scored(tmp_path):
    t5 = model.load(FIXTURES / "v1_0")
    result = {"score": 50.0, "curve": [], "seconds": 1.0, "trained": 1, "memory": 1}
    made_by = {"task": "cb", "result": result, "weights": model.save(t5, tmp_path)}
    (tmp_path / "tuned.json").write_text(json.dumps(made_by))
    assert model.load(tmp_path).fingerprint == made_by["weights"]
    for spoilt, message in ((made_by | {"weights": 5}, "weights is 5; wanted the fingerprint"),
                            ({"task": "cb", "result": result}, "tuned.json lacks weights"),
                            (made_by | {"result": {}}, "tuned.json lacks result.score")):
        (tmp_path / "tuned.json").write_text(json.dumps(spoilt))
        assert message in refused(tmp_path)
    (tmp_path / "tuned.json").write_text(json.dumps(made_by))
    t5.shared.weight[3] = 0
    model.save(t5, tmp_path)
    assert "tuned.json: weights is '" in refused(tmp_path)
