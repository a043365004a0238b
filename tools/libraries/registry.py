"""Where the jobs stand, and what several of them do."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

Job = Callable[[], Iterable[float]]
JOBS: dict[str, tuple[str, Job]] = {}


def job(distribution: str, what: str) -> Callable[[Job], Job]:
    """Register a job: a function that returns numbers."""
    def register(function: Job) -> Job:
        JOBS[f"{distribution}: {what}"] = distribution, function
        return function
    return register


def trained(model: Any, x: Any, y: Any, steps: int = 3) -> list[float]:
    """The losses of a few steps of gradient descent."""
    import torch
    optimizer, losses = torch.optim.SGD(model.parameters(), lr=0.1), []
    for _ in range(steps):
        loss = torch.nn.functional.cross_entropy(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


def data(*shape: int, classes: int = 3) -> tuple[Any, Any]:
    """Random inputs, and a class for each."""
    import torch
    return torch.randn(*shape), torch.randint(0, classes, (shape[0],))


def wave(length: int = 120) -> Any:
    """A series to forecast, the same on every side."""
    import numpy as np
    steps = np.arange(length, dtype="float32")
    return np.sin(steps / 6) + 0.01 * steps


def words() -> Any:
    """A tokenizer of a few words, made here: nothing is downloaded."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast
    vocabulary = {word: index for index, word in enumerate(["<pad>", "<bos>", "<eos>", "<unk>", "[MASK]", "the", "cat", "sat", "on", "a", "mat", "dog", "ran", "home", "good", "bad", "film", "very"])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="<pad>", bos_token="<bos>", eos_token="<eos>", unk_token="<unk>",
                                   mask_token="[MASK]", model_max_length=32)


def small_gpt2(layers: int = 1) -> Any:
    """A GPT-2 of a few thousand parameters."""
    from transformers import GPT2Config, GPT2LMHeadModel
    return GPT2LMHeadModel(GPT2Config(n_layer=layers, n_head=2, n_embd=32, vocab_size=64, n_positions=64, bos_token_id=1, eos_token_id=2,
                                      pad_token_id=0))
