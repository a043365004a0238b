"""Main jobs of libraries written for PyTorch: ``python tools/libraries.py OUT.json`` runs them on the torch that is installed.

Run in an environment with PyTorch and in one that `rushlight link` linked; ``python tools/libraries.py --table ON-PYTORCH.json ON-RUSHLIGHT.json``
writes docs/libraries.md from both. Jobs whose library is not installed are left out.
"""

from __future__ import annotations

import json
import sys
import traceback
import warnings
from collections.abc import Callable, Iterable
from importlib import metadata
from pathlib import Path
from typing import Any

JOBS: dict[str, tuple[str, Callable[[], Iterable[float]]]] = {}
Job = Callable[[], Iterable[float]]


def job(distribution: str, what: str) -> Callable[[Job], Job]:
    """Register a job: a function that returns numbers."""
    def register(function: Job) -> Job:
        JOBS[f"{distribution}: {what}"] = distribution, function
        return function
    return register


def _trained(model: Any, x: Any, y: Any, steps: int = 3) -> list[float]:
    import torch
    optimizer, losses = torch.optim.SGD(model.parameters(), lr=0.1), []
    for _ in range(steps):
        loss = torch.nn.functional.cross_entropy(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


def _data(*shape: int, classes: int = 3) -> tuple[Any, Any]:
    import torch
    return torch.randn(*shape), torch.randint(0, classes, (shape[0],))


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


@job("timm", "ResNet-18 and ViT: training steps")
def timm_models() -> Iterable[float]:
    import timm
    x, y = _data(2, 3, 32, 32)
    vit = timm.create_model("vit_tiny_patch16_224", img_size=32, patch_size=8, num_classes=3, depth=2)
    return _trained(timm.create_model("resnet18", num_classes=3), x, y, 2) + _trained(vit, x, y)


@job("torchvision", "ResNet-18, nms, roi_align with gradient, transforms v2")
def vision() -> Iterable[float]:
    import torch
    import torchvision
    import torchvision.transforms.v2
    x, y = _data(2, 3, 32, 32)
    boxes = torch.rand(8, 4) * 10
    boxes[:, 2:] += boxes[:, :2]
    kept = torchvision.ops.nms(boxes, torch.rand(8), 0.3)
    image = torch.randn(1, 2, 12, 12, requires_grad=True)
    pooled = torchvision.ops.roi_align(image, [boxes], 3)
    pooled.square().sum().backward()
    changed = torchvision.transforms.v2.Compose([torchvision.transforms.v2.Resize(16), torchvision.transforms.v2.Normalize([0.5] * 3, [0.2] * 3)])(x)
    return [*_trained(torchvision.models.resnet18(num_classes=3), x, y, 2), *kept.tolist(), pooled.sum().item(), image.grad.norm().item(),
            changed.sum().item()]


@job("lightning", "Trainer.fit on a LightningModule")
def lightning_fit() -> Iterable[float]:
    import lightning
    import torch
    x, y = _data(32, 4)

    class Module(lightning.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.net = torch.nn.Linear(4, 3)

        def training_step(self, batch: Any, index: int) -> Any:
            return torch.nn.functional.cross_entropy(self.net(batch[0]), batch[1])

        def configure_optimizers(self) -> Any:
            return torch.optim.Adam(self.parameters(), lr=0.05)
    module = Module()
    trainer = lightning.Trainer(max_epochs=2, logger=False, enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
                                accelerator="cpu")
    trainer.fit(module, torch.utils.data.DataLoader(torch.utils.data.TensorDataset(x, y), batch_size=8))
    return module.net.weight.flatten().tolist()


@job("accelerate", "Accelerator.prepare and backward")
def accelerated() -> Iterable[float]:
    import torch
    from accelerate import Accelerator
    x, y = _data(16, 4)
    model = torch.nn.Linear(4, 3)
    loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(x, y), batch_size=8)
    accelerator = Accelerator(cpu=True)
    model, optimizer, loader = accelerator.prepare(model, torch.optim.SGD(model.parameters(), lr=0.1), loader)
    for a, b in loader:
        optimizer.zero_grad()
        accelerator.backward(torch.nn.functional.cross_entropy(model(a), b))
        optimizer.step()
    return model.weight.flatten().tolist()


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


@job("torchmetrics", "accuracy, F1, AUROC, PSNR")
def metrics() -> Iterable[float]:
    import torch
    import torchmetrics.functional as M
    scores, target = torch.randn(32, 3).softmax(1), torch.randint(0, 3, (32,))
    return [float(M.accuracy(scores, target, task="multiclass", num_classes=3)), float(M.f1_score(scores, target, task="multiclass", num_classes=3)),
            float(M.auroc(scores, target, task="multiclass", num_classes=3)), float(M.image.peak_signal_noise_ratio(scores, scores * 0.9, data_range=1.0))]


@job("skorch", "NeuralNetClassifier.fit and predict_proba")
def skorch_fit() -> Iterable[float]:
    import numpy as np
    import torch
    from skorch import NeuralNetClassifier
    x = np.random.default_rng(0).normal(size=(40, 4)).astype("float32")
    y = (x[:, 0] > 0).astype("int64")
    net = NeuralNetClassifier(torch.nn.Sequential(torch.nn.Linear(4, 2), torch.nn.Softmax(1)), max_epochs=3, lr=0.1, verbose=0, train_split=None)
    return net.fit(x, y).predict_proba(x)[:4].ravel().tolist()


@job("pytorch-ignite", "a supervised trainer and a metric")
def ignite_run() -> Iterable[float]:
    import torch
    from ignite.engine import create_supervised_evaluator, create_supervised_trainer
    from ignite.metrics import Accuracy
    x, y = _data(32, 4)
    model = torch.nn.Linear(4, 3)
    batches = [(x[i:i + 8], y[i:i + 8]) for i in range(0, 32, 8)]
    create_supervised_trainer(model, torch.optim.SGD(model.parameters(), lr=0.5), torch.nn.functional.cross_entropy).run(batches, 3)
    evaluator = create_supervised_evaluator(model, {"accuracy": Accuracy()})
    return [evaluator.run(batches).metrics["accuracy"], *model.weight.flatten().tolist()]


@job("captum", "integrated gradients")
def attribution() -> Iterable[float]:
    import torch
    from captum.attr import IntegratedGradients
    model = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.Tanh(), torch.nn.Linear(8, 3))
    return IntegratedGradients(model).attribute(torch.randn(2, 4), target=1).flatten().tolist()


@job("kornia", "blur, rotation, colour")
def kornia_ops() -> Iterable[float]:
    import kornia
    import torch
    x = torch.rand(1, 3, 16, 16)
    return [kornia.filters.gaussian_blur2d(x, (5, 5), (1.5, 1.5)).square().sum().item(), kornia.color.rgb_to_hsv(x).sum().item(),
            kornia.geometry.rotate(x, torch.tensor([30.0])).sum().item()]


@job("pyro-ppl", "SVI with a normal guide")
def svi() -> Iterable[float]:
    import pyro
    import torch
    from pyro.infer import SVI, Trace_ELBO
    pyro.clear_param_store()

    def model(data: Any) -> None:
        mean = pyro.sample("mean", pyro.distributions.Normal(0.0, 1.0))
        with pyro.plate("data", len(data)):
            pyro.sample("x", pyro.distributions.Normal(mean, 1.0), obs=data)
    guide = pyro.infer.autoguide.AutoNormal(model)
    svi = SVI(model, guide, pyro.optim.Adam({"lr": 0.1}), Trace_ELBO())
    data = torch.randn(20) + 2
    return [svi.step(data) for _ in range(5)]


@job("gpytorch", "an exact GP: training and prediction")
def gp() -> Iterable[float]:
    import gpytorch
    import torch
    x = torch.linspace(0, 1, 12)
    y = torch.sin(6 * x)

    class GP(gpytorch.models.ExactGP):
        def __init__(self, likelihood: Any) -> None:
            super().__init__(x, y, likelihood)
            self.mean, self.kernel = gpytorch.means.ConstantMean(), gpytorch.kernels.ScaleKernel(gpytorch.kernels.RBFKernel())

        def forward(self, x: Any) -> Any:
            return gpytorch.distributions.MultivariateNormal(self.mean(x), self.kernel(x))
    likelihood = gpytorch.likelihoods.GaussianLikelihood()
    model = GP(likelihood)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.1)
    objective = gpytorch.mlls.ExactMarginalLogLikelihood(likelihood, model)
    for _ in range(5):
        optimizer.zero_grad()
        loss = -objective(model(x), y)
        loss.backward()
        optimizer.step()
    model.eval()
    return [loss.item(), *model(torch.tensor([0.3, 0.7])).mean.tolist()]


@job("torch-geometric", "GCNConv and GATConv: training steps")
def graphs() -> Iterable[float]:
    import torch
    from torch_geometric.nn import GATConv, GCNConv
    edges = torch.tensor([[0, 1, 2, 3, 0], [1, 2, 3, 0, 2]])
    x, y = _data(4, 5)

    class Net(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = GCNConv(5, 8), GATConv(8, 3, heads=2, concat=False)

        def forward(self, x: Any) -> Any:
            return self.b(self.a(x, edges).relu(), edges)
    return _trained(Net(), x, y)


@job("torchdiffeq", "odeint with gradient")
def ode() -> Iterable[float]:
    import torch
    from torchdiffeq import odeint
    rate = torch.tensor(0.5, requires_grad=True)
    found = odeint(lambda t, y: -rate * y, torch.tensor([1.0, 2.0]), torch.linspace(0, 1, 5))
    found[-1].sum().backward()
    return [*found[-1].tolist(), rate.grad.item()]


@job("monai", "UNet and Dice loss")
def monai_unet() -> Iterable[float]:
    import torch
    from monai.losses import DiceLoss
    from monai.networks.nets import UNet
    model = UNet(spatial_dims=2, in_channels=1, out_channels=1, channels=(4, 8), strides=(2,))
    loss = DiceLoss(sigmoid=True)(model(torch.randn(1, 1, 16, 16)), (torch.rand(1, 1, 16, 16) > 0.5).float())
    loss.backward()
    return [loss.item(), sum(p.grad.square().sum().item() for p in model.parameters() if p.grad is not None)]


@job("diffusers", "a small UNet and a DDIM step")
def diffusion() -> Iterable[float]:
    import torch
    from diffusers import DDIMScheduler, UNet2DModel
    model = UNet2DModel(sample_size=8, in_channels=1, out_channels=1, layers_per_block=1, block_out_channels=(8, 16), norm_num_groups=4,
                        down_block_types=("DownBlock2D", "AttnDownBlock2D"), up_block_types=("AttnUpBlock2D", "UpBlock2D")).eval()
    scheduler = DDIMScheduler()
    scheduler.set_timesteps(5)
    x = torch.randn(1, 1, 8, 8)
    with torch.no_grad():
        for t in scheduler.timesteps:
            x = scheduler.step(model(x, t).sample, t, x).prev_sample
    return [x.square().mean().item()]


@job("opacus", "differentially private SGD")
def private() -> Iterable[float]:
    import torch
    from opacus import GradSampleModule
    x, y = _data(8, 4)
    model = GradSampleModule(torch.nn.Linear(4, 3))
    torch.nn.functional.cross_entropy(model(x), y).backward()
    return model._module.weight.grad_sample.flatten(1).norm(dim=1).tolist()


@job("tensordict", "a TensorDictModule, stacking, indexing")
def dicts() -> Iterable[float]:
    import torch
    from tensordict import TensorDict
    from tensordict.nn import TensorDictModule
    module = TensorDictModule(torch.nn.Linear(3, 2), in_keys=["x"], out_keys=["y"])
    data = TensorDict({"x": torch.randn(4, 3)}, batch_size=[4])
    return [*module(data)["y"].flatten().tolist(), torch.stack([data, data])[1, 2]["x"].sum().item()]


@job("botorch", "a GP and expected improvement")
def bayes() -> Iterable[float]:
    import torch
    from botorch.acquisition import LogExpectedImprovement
    from botorch.models import SingleTaskGP
    x = torch.rand(6, 2, dtype=torch.float64)
    model = SingleTaskGP(x, x.sum(1, keepdim=True).sin())
    return LogExpectedImprovement(model, best_f=0.5)(torch.rand(3, 1, 2, dtype=torch.float64)).tolist()


@job("stable-baselines3", "PPO on CartPole")
def ppo() -> Iterable[float]:
    from stable_baselines3 import PPO
    model = PPO("MlpPolicy", "CartPole-v1", n_steps=64, batch_size=32, seed=0, device="cpu").learn(64)
    return [p.sum().item() for p in model.policy.parameters()]


@job("fastai", "a tabular learner's fit")
def fast() -> Iterable[float]:
    import fastai.callback.progress  # noqa: F401  (gives learners no_bar)
    import torch
    from fastai.basics import DataLoader, DataLoaders, Learner
    x, y = _data(32, 4)
    loader = DataLoader(list(zip(x, y, strict=True)), bs=8, num_workers=0)
    learner = Learner(DataLoaders(loader, loader), torch.nn.Linear(4, 3), loss_func=torch.nn.functional.cross_entropy)
    with learner.no_bar(), learner.no_logging():
        learner.fit(1, 0.1)
    return learner.model.weight.flatten().tolist()


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


def run(path: str, only: str = "") -> None:
    """Run the jobs and write what came out: numbers, or the error's last line."""
    import torch
    found: dict[str, Any] = {}
    for name, (distribution, function) in JOBS.items():
        if only and only not in name:
            continue
        try:
            version = metadata.version(distribution)
        except metadata.PackageNotFoundError:
            continue
        torch.manual_seed(0)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                found[name] = {"version": version, "numbers": [float(each) for each in function()]}
        except Exception as error:
            if only:
                traceback.print_exc()
            found[name] = {"version": version, "error": f"{type(error).__name__}: {str(error).strip().splitlines()[-1][:160] if str(error) else ''}"}
        print(name, found[name].get("error", "ok"), flush=True)
    Path(path).write_text(json.dumps(found, indent=1))


def table(theirs_path: str, ours_path: str) -> None:
    """Write docs/libraries.md."""
    theirs, ours = (json.loads(Path(path).read_text()) for path in (theirs_path, ours_path))
    rows = []
    for name, result in ours.items():
        library, _, what = name.partition(": ")
        rows.append(f"| {library} {result['version']} | {what} | {_verdict(result, theirs.get(name))} |")
    path = Path(__file__).resolve().parent.parent / "docs/libraries.md"
    text = path.read_text()
    start, end = text.index("<!-- table:start -->"), text.index("<!-- table:end -->")
    path.write_text(text[:start] + "<!-- table:start -->\n| library | what was run | on rushlight |\n| --- | --- | --- |\n" + "\n".join(rows) + "\n" + text[end:])


def _verdict(ours: dict[str, Any], theirs: dict[str, Any] | None) -> str:
    if "error" in ours:
        return "stops: " + ours["error"].replace("|", "/")
    if theirs is None or "error" in theirs:
        return "runs (not compared)"
    pairs = list(zip(ours["numbers"], theirs["numbers"], strict=False))
    worst = max((abs(x - y) / max(1.0, abs(y)) for x, y in pairs), default=0.0)
    return "runs, PyTorch's numbers" if worst < 1e-4 and len(ours["numbers"]) == len(theirs["numbers"]) else f"runs, numbers differ by {worst:.1e}"


if __name__ == "__main__":
    if sys.argv[1] == "--table":
        table(*sys.argv[2:4])
    else:
        run(*sys.argv[1:3])
