"""Main jobs of libraries for probability, graphs, equations, decisions, series and sound."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from registry import data, job, trained, wave


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
    x, y = data(4, 5)

    class Net(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = GCNConv(5, 8), GATConv(8, 3, heads=2, concat=False)

        def forward(self, x: Any) -> Any:
            return self.b(self.a(x, edges).relu(), edges)
    return trained(Net(), x, y)


@job("torchdiffeq", "odeint with gradient")
def ode() -> Iterable[float]:
    import torch
    from torchdiffeq import odeint
    rate = torch.tensor(0.5, requires_grad=True)
    found = odeint(lambda t, y: -rate * y, torch.tensor([1.0, 2.0]), torch.linspace(0, 1, 5))
    found[-1].sum().backward()
    return [*found[-1].tolist(), rate.grad.item()]


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


@job("torchsde", "sdeint with gradient")
def sde() -> Iterable[float]:
    import torch
    import torchsde

    class SDE(torch.nn.Module):
        noise_type, sde_type = "diagonal", "ito"

        def __init__(self) -> None:
            super().__init__()
            self.drift = torch.nn.Linear(3, 3)

        def f(self, t: Any, y: Any) -> Any:
            return self.drift(y)

        def g(self, t: Any, y: Any) -> Any:
            return 0.1 * y
    model, times = SDE(), torch.linspace(0, 1, 5)
    noise = torchsde.BrownianInterval(t0=0.0, t1=1.0, size=(4, 3), entropy=0)
    found = torchsde.sdeint(model, torch.ones(4, 3), times, bm=noise, dt=0.1, method="euler")
    found[-1].sum().backward()
    return [*found[-1][0].tolist(), model.drift.weight.grad.norm().item()]


@job("e3nn", "spherical harmonics, a tensor product and its equivariance")
def equivariant() -> Iterable[float]:
    import torch
    from e3nn import o3
    kinds = o3.Irreps("2x0e + 1x1o")
    product = o3.FullyConnectedTensorProduct(kinds, o3.Irreps.spherical_harmonics(2), "3x0e + 1x1o + 1x2e")
    x, position = kinds.randn(5, -1), torch.randn(5, 3)
    out = product(x, o3.spherical_harmonics(o3.Irreps.spherical_harmonics(2), position, normalize=True))
    out.square().sum().backward()
    return [*out[0].tolist(), product.weight.grad.norm().item()]


@job("snntorch", "leaky neurons over time with a surrogate gradient")
def spikes() -> Iterable[float]:
    import snntorch
    import torch
    layer, neuron = torch.nn.Linear(6, 4), snntorch.Leaky(beta=0.9, spike_grad=snntorch.surrogate.fast_sigmoid())
    membrane, count = neuron.init_leaky(), 0
    for step in torch.rand(8, 3, 6):
        spike, membrane = neuron(layer(step) * 3, membrane)
        count = count + spike
    (count - 2).square().sum().backward()
    return [*count.flatten().tolist(), layer.weight.grad.norm().item()]


@job("pytorch-tabnet", "TabNetClassifier.fit and predict_proba")
def tabnet() -> Iterable[float]:
    import numpy as np
    from pytorch_tabnet.tab_model import TabNetClassifier
    x = np.random.default_rng(0).normal(size=(64, 5)).astype("float32")
    y = (x[:, 0] > 0).astype("int64")
    model = TabNetClassifier(n_d=4, n_a=4, n_steps=2, seed=0, verbose=0, device_name="cpu")
    model.fit(x, y, max_epochs=2, batch_size=32, virtual_batch_size=16, drop_last=False)
    return model.predict_proba(x[:4]).ravel().tolist()


@job("pytorch-forecasting", "a temporal fusion transformer on a small series")
def forecasting() -> Iterable[float]:
    import pandas as pd
    import torch
    from pytorch_forecasting import QuantileLoss, TemporalFusionTransformer, TimeSeriesDataSet
    series = wave(40)
    rows = pd.DataFrame({"time": list(range(40)) * 2, "group": ["a"] * 40 + ["b"] * 40, "value": [*series, *(series * 2 + 1)]})
    dataset = TimeSeriesDataSet(rows, time_idx="time", target="value", group_ids=["group"], max_encoder_length=8, max_prediction_length=3,
                                time_varying_unknown_reals=["value"], time_varying_known_reals=["time"])
    model = TemporalFusionTransformer.from_dataset(dataset, hidden_size=8, attention_head_size=2, dropout=0.0, loss=QuantileLoss())
    x, y = next(iter(dataset.to_dataloader(train=False, batch_size=8)))
    losses, optimizer = [], torch.optim.Adam(model.parameters(), lr=0.01)
    for _ in range(3):
        loss = model.loss(model(x)["prediction"], y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


@job("neuralforecast", "NHITS: fit and predict")
def nhits() -> Iterable[float]:
    import pandas as pd
    from neuralforecast import NeuralForecast
    from neuralforecast.models import NHITS
    series = wave(60)
    rows = pd.DataFrame({"unique_id": "a", "ds": pd.date_range("2020-01-01", periods=60, freq="D"), "y": series})
    model = NHITS(h=4, input_size=12, max_steps=5, mlp_units=3 * [[16, 16]], random_seed=1, accelerator="cpu", enable_progress_bar=False, logger=False,
                  enable_checkpointing=False)
    made = NeuralForecast(models=[model], freq="D")
    made.fit(rows)
    return made.predict()["NHITS"].tolist()


@job("darts", "N-BEATS and TCN: fit and predict")
def darts_models() -> Iterable[float]:
    from darts import TimeSeries
    from darts.models import NBEATSModel, TCNModel
    series = TimeSeries.from_values(wave(60))
    common: dict[str, Any] = {"input_chunk_length": 12, "output_chunk_length": 4, "n_epochs": 1, "random_state": 0, "batch_size": 16,
                              "pl_trainer_kwargs": {"accelerator": "cpu", "enable_progress_bar": False, "logger": False, "enable_model_summary": False}}
    found: list[float] = []
    for model in (NBEATSModel(num_stacks=2, num_blocks=1, num_layers=1, layer_widths=16, **common), TCNModel(num_filters=2, **common)):
        model.fit(series, verbose=False)
        found += model.predict(4, verbose=False).values().ravel().tolist()
    return found


@job("torchrl", "a rollout in an environment, advantages and the PPO loss")
def rollout() -> Iterable[float]:
    import torch
    from tensordict.nn import TensorDictModule
    from torchrl.envs import GymEnv
    from torchrl.modules import OneHotCategorical, ProbabilisticActor, ValueOperator
    from torchrl.objectives import ClipPPOLoss
    from torchrl.objectives.value import GAE
    environment = GymEnv("CartPole-v1", device="cpu")
    environment.set_seed(0)
    scores = TensorDictModule(torch.nn.Linear(4, 2), in_keys=["observation"], out_keys=["logits"])
    actor = ProbabilisticActor(scores, in_keys=["logits"], distribution_class=OneHotCategorical, return_log_prob=True)
    critic = ValueOperator(torch.nn.Linear(4, 1), in_keys=["observation"])
    steps = environment.rollout(12, actor)
    GAE(gamma=0.99, lmbda=0.95, value_network=critic)(steps)
    losses = ClipPPOLoss(actor, critic)(steps)
    (losses["loss_objective"] + losses["loss_critic"]).backward()
    return [steps["next", "reward"].sum().item(), losses["loss_objective"].item(), losses["loss_critic"].item(), scores.module.weight.grad.norm().item()]


@job("torchaudio", "spectrogram, mel spectrogram, MFCC, resampling")
def sound() -> Iterable[float]:
    import torch
    import torchaudio
    x = torch.sin(torch.arange(4000) * 0.05)[None]
    found = [torchaudio.transforms.Spectrogram(n_fft=128)(x), torchaudio.transforms.MelSpectrogram(8000, n_fft=256, n_mels=16)(x),
             torchaudio.transforms.MFCC(8000, n_mfcc=8, melkwargs={"n_fft": 256, "n_mels": 16})(x), torchaudio.functional.resample(x, 8000, 4000)]
    return [each.double().square().mean().sqrt().item() for each in found]


@job("silero-vad", "the shipped TorchScript model on a sound")
def speech() -> Iterable[float]:
    import torch
    from silero_vad import load_silero_vad
    model = load_silero_vad()
    x = torch.sin(torch.arange(512 * 4) * 0.05) * 0.3
    return [model(part, 16000).item() for part in x.reshape(4, 512)]


@job("tianshou", "DQN on CartPole: collecting and updates")
def dqn() -> Iterable[float]:
    import gymnasium
    from tianshou.algorithm import DQN
    from tianshou.algorithm.algorithm_base import policy_within_training_step
    from tianshou.algorithm.modelfree.dqn import DiscreteQLearningPolicy
    from tianshou.algorithm.optim import AdamOptimizerFactory
    from tianshou.data import Collector, VectorReplayBuffer
    from tianshou.env import DummyVectorEnv
    from tianshou.utils.net.common import Net
    environments = DummyVectorEnv([lambda: gymnasium.make("CartPole-v1")])
    environments.seed(0)
    policy = DiscreteQLearningPolicy(model=Net(state_shape=(4,), action_shape=2, hidden_sizes=[16]), action_space=gymnasium.spaces.Discrete(2),
                                     eps_training=0.1)
    algorithm = DQN(policy=policy, optim=AdamOptimizerFactory(lr=1e-3), gamma=0.9, n_step_return_horizon=3, target_update_freq=2)
    buffer = VectorReplayBuffer(200, 1)
    collector = Collector(algorithm, environments, buffer, exploration_noise=True)
    collector.reset()
    with policy_within_training_step(policy):
        collector.collect(n_step=40)
        losses = [algorithm.update(buffer=buffer, sample_size=16).loss for _ in range(3)]
    return [*losses, *(p.sum().item() for p in policy.parameters())]
