"""The examples, run as a user runs them; the digits against real PyTorch."""

import json
import os
import re
import subprocess
import sys
import urllib.error
import urllib.request

import pytest

ROOT = os.path.join(os.path.dirname(__file__), "..")


def run(command, *args, **env):
    result = subprocess.run([sys.executable, *command, *args], cwd=ROOT, capture_output=True, text=True, timeout=900,
                            env={**os.environ, "OMP_NUM_THREADS": "1", **env})
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


RUSHLIGHT = ("-m", "rushlight", "run")


def losses(text):
    """Per epoch: training loss and accuracy, test loss and accuracy, as printed."""
    return re.findall(r"epoch +\d+  train loss ([\d.]+)  accuracy +([\d.]+)%   test loss ([\d.]+)  accuracy +([\d.]+)%", text)


def test_digits_in_two_processes_are_those_of_one():
    """Every process takes its share of each batch: the mean loss per epoch is the same."""
    alone = run(RUSHLIGHT, "examples/ddp_digits.py", "--epochs", "2", RANK="0", WORLD_SIZE="1", MASTER_ADDR="127.0.0.1", MASTER_PORT="0")
    both = run((*RUSHLIGHT, "--nproc", "2"), "examples/ddp_digits.py", "--epochs", "2")
    found = [[float(number) for number in re.findall(r"train loss ([\d.]+)", text)] for text in (alone, both)]
    assert len(found[0]) == len(found[1]) == 2 and all(abs(a - b) < 2e-3 for a, b in zip(*found)), found


def test_digits_like_pytorch(tmp_path):
    """The first epochs print the same losses, to 4 decimals, on both."""
    args = ("examples/digits.py", "--epochs", "3", "--quiet", "--output")
    ours = losses(run(RUSHLIGHT, *args, str(tmp_path / "ours")))
    theirs = losses(run((), *args, str(tmp_path / "theirs")))
    assert len(ours) == len(theirs) == 3
    for (loss, accuracy, test_loss, test_accuracy), expected in zip(ours, theirs):
        assert abs(float(loss) - float(expected[0])) <= 1.01e-4
        assert abs(float(test_loss) - float(expected[2])) <= 1.01e-4
        assert abs(float(accuracy) - float(expected[1])) < 0.1 and abs(float(test_accuracy) - float(expected[3])) < 0.3
    assert ours[0][0] == theirs[0][0]


def test_digits_reaches_its_accuracy_and_resumes(tmp_path):
    """The main job: at least 98.5 % on the test set, a picture, and a checkpoint from which a run goes on."""
    args = ("examples/digits.py", "--quiet", "--output", str(tmp_path))
    first = run(RUSHLIGHT, *args, "--epochs", "2")
    assert (tmp_path / "checkpoint.pt").exists()
    text = run(RUSHLIGHT, *args)
    assert "resumed from" in text and len(losses(first)) == 2 and len(losses(text)) == 18
    accuracy = float(re.search(r"test accuracy ([\d.]+)%", text).group(1))
    assert accuracy >= 98.5
    assert (tmp_path / "digits.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.slow
def test_copy_transformer():
    text = run(RUSHLIGHT, "examples/copy_transformer.py", "--max-steps", "1000")
    assert "without a mistake" in text
    source, copy = (line.split(":")[1].strip() for line in text.splitlines()[-2:])
    assert source == copy


def small_bert(folder):
    """A model folder as sentence-transformers writes it: two layers, random weights, and a vocabulary of a few words."""
    import torch
    from safetensors.torch import save_file
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "a", "cat", "sits", "on", "the", "mat", "##s", "dog", ".", "ran"]
    tokenizer = Tokenizer(models.WordPiece({word: i for i, word in enumerate(words)}, unk_token="[UNK]"))
    tokenizer.normalizer, tokenizer.pre_tokenizer = normalizers.BertNormalizer(), pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    tokenizer.save(str(folder / "tokenizer.json"))
    config = {"model_type": "bert", "hidden_act": "gelu", "hidden_size": 24, "num_attention_heads": 3, "intermediate_size": 48, "num_hidden_layers": 2,
              "layer_norm_eps": 1e-12, "max_position_embeddings": 16, "type_vocab_size": 2, "vocab_size": len(words)}
    (folder / "config.json").write_text(json.dumps(config))
    shapes = {"embeddings.word_embeddings.weight": (14, 24), "embeddings.position_embeddings.weight": (16, 24), "embeddings.token_type_embeddings.weight": (2, 24),
              "embeddings.LayerNorm.weight": (24,), "embeddings.LayerNorm.bias": (24,), "pooler.dense.weight": (24, 24), "pooler.dense.bias": (24,)}
    for layer in range(2):
        for name, (rows, columns) in {"attention.self.query": (24, 24), "attention.self.key": (24, 24), "attention.self.value": (24, 24),
                                      "attention.output.dense": (24, 24), "intermediate.dense": (48, 24), "output.dense": (24, 48),
                                      "attention.output.LayerNorm": (24, 0), "output.LayerNorm": (24, 0)}.items():
            shapes |= {f"encoder.layer.{layer}.{name}.weight": (rows, columns) if columns else (rows,), f"encoder.layer.{layer}.{name}.bias": (rows,)}
    torch.manual_seed(0)
    save_file({name: torch.randn(shape) for name, shape in shapes.items()}, folder / "model.safetensors")


SENTENCES = ["A cat sits on the mat.", "dogs ran", "the", "a a a a a a a a a a a a a a a a a a a a a a a a"]


def test_embeddings_are_served(tmp_path):
    """Over HTTP, the vectors that PyTorch's run of the same script prints; what is no request is answered with what was expected."""
    small_bert(tmp_path)
    texts = [word for sentence in SENTENCES for word in ("--text", sentence)]
    expected = json.loads(run((), "examples/embeddings.py", str(tmp_path), *texts))
    assert len(expected) == 4 and all(len(vector) == 24 and abs(sum(x * x for x in vector) - 1) < 1e-5 for vector in expected)
    server = subprocess.Popen([sys.executable, *RUSHLIGHT, "examples/embeddings.py", str(tmp_path), "--port", "0"], cwd=ROOT, text=True,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        port = re.search(r":(\d+)$", server.stdout.readline().strip()).group(1)

        def ask(body, path="/embed"):
            try:
                with urllib.request.urlopen(urllib.request.Request(f"http://127.0.0.1:{port}{path}", body), timeout=60) as reply:
                    return reply.status, json.load(reply)
            except urllib.error.HTTPError as error:
                return error.code, json.load(error)
        status, answer = ask(json.dumps({"sentences": SENTENCES}).encode())
        assert status == 200
        for ours, theirs in zip(answer["embeddings"], expected, strict=True):
            assert max(abs(a - b) for a, b in zip(ours, theirs, strict=True)) < 2e-6
        assert ask(None, "/health") == (200, {"status": "ready", "torch": "2.13.0+rushlight"})
        for wrong in (b"{", b"[]", b'{"sentences": []}', b'{"sentences": [1]}', b'{"sentences": "a cat"}', b'{"texts": ["a"]}', b"\xff"):
            assert ask(wrong)[0] == 400 and "sentences" in ask(wrong)[1]["error"], wrong
        assert ask(b"{}", "/other")[0] == 404 and ask(b" " * (2 << 20))[0] == 413
        assert ask(json.dumps({"sentences": SENTENCES[:1]}).encode())[1]["embeddings"][0] == pytest.approx(expected[0], abs=2e-6)
    finally:
        server.kill()
        server.communicate()
    assert "has no config.json" in failing("examples/embeddings.py", str(tmp_path / "nothing"))


def failing(*args):
    """What a run says that ends with an error."""
    result = subprocess.run([sys.executable, *RUSHLIGHT, *args], cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert result.returncode != 0
    return result.stderr
