"""Main jobs of libraries that train, measure, watch and distribute."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from registry import data, job, trained


@job("lightning", "Trainer.fit on a LightningModule")
def lightning_fit() -> Iterable[float]:
    import lightning
    import torch
    x, y = data(32, 4)

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
    x, y = data(16, 4)
    model = torch.nn.Linear(4, 3)
    loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(x, y), batch_size=8)
    accelerator = Accelerator(cpu=True)
    model, optimizer, loader = accelerator.prepare(model, torch.optim.SGD(model.parameters(), lr=0.1), loader)
    for a, b in loader:
        optimizer.zero_grad()
        accelerator.backward(torch.nn.functional.cross_entropy(model(a), b))
        optimizer.step()
    return model.weight.flatten().tolist()


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
    x, y = data(32, 4)
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


@job("opacus", "differentially private SGD")
def private() -> Iterable[float]:
    import torch
    from opacus import GradSampleModule
    x, y = data(8, 4)
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


@job("fastai", "a tabular learner's fit")
def fast() -> Iterable[float]:
    import fastai.callback.progress  # noqa: F401  (gives learners no_bar)
    import torch
    from fastai.basics import DataLoader, DataLoaders, Learner
    x, y = data(32, 4)
    loader = DataLoader(list(zip(x, y, strict=True)), bs=8, num_workers=0)
    learner = Learner(DataLoaders(loader, loader), torch.nn.Linear(4, 3), loss_func=torch.nn.functional.cross_entropy)
    with learner.no_bar(), learner.no_logging():
        learner.fit(1, 0.1)
    return learner.model.weight.flatten().tolist()


@job("fvcore", "operations and parameters of a small network")
def counted() -> Iterable[float]:
    import torch
    from fvcore.nn import FlopCountAnalysis, parameter_count
    model = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(4 * 36, 5))
    return [float(FlopCountAnalysis(model, torch.randn(1, 3, 8, 8)).unsupported_ops_warnings(False).total()), float(parameter_count(model)[""])]


@job("optuna", "a study whose trials train, with pruning")
def study() -> Iterable[float]:
    import optuna
    import torch
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    x, y = data(32, 4)

    def objective(trial: Any) -> float:
        torch.manual_seed(trial.number)
        model = torch.nn.Linear(4, 3)
        optimizer = torch.optim.SGD(model.parameters(), lr=trial.suggest_float("lr", 1e-3, 1.0, log=True))
        for step in range(4):
            loss = torch.nn.functional.cross_entropy(model(x), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            trial.report(loss.item(), step)
            if trial.should_prune():
                raise optuna.TrialPruned
        return loss.item()
    made = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=0), pruner=optuna.pruners.MedianPruner(n_startup_trials=2))
    made.optimize(objective, n_trials=8)
    return [made.best_value, made.best_params["lr"], *(float(trial.state) for trial in made.trials)]


@job("onnx", "a small network exported, checked, and run by onnx's reference evaluator")
def exported() -> Iterable[float]:
    import tempfile
    from pathlib import Path

    import onnx
    import onnx.reference
    import torch
    model, x = torch.nn.Sequential(torch.nn.Conv2d(1, 2, 3), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(32, 3)).eval(), torch.randn(2, 1, 6, 6)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        torch.onnx.export(model, (x,), str(path), input_names=["x"], output_names=["y"], dynamo=False)
        made = onnx.load(path)
    onnx.checker.check_model(made)
    return onnx.reference.ReferenceEvaluator(made).run(None, {"x": x.numpy()})[0].ravel().tolist()


@job("mlflow", "a run with metrics, and a model logged and loaded")
def tracked() -> Iterable[float]:
    import tempfile

    import mlflow
    import torch
    x, y = data(16, 4)
    with tempfile.TemporaryDirectory() as folder:
        mlflow.set_tracking_uri(f"sqlite:///{folder}/runs.db")
        mlflow.set_experiment(experiment_id=mlflow.create_experiment("small", artifact_location=f"file://{folder}/artifacts"))
        model = torch.nn.Linear(4, 3)
        with mlflow.start_run() as run:
            for step, loss in enumerate(trained(model, x, y)):
                mlflow.log_metric("loss", loss, step=step)
            logged = mlflow.pytorch.log_model(model, name="model", serialization_format="pickle", pip_requirements=["torch"])
        again = mlflow.pytorch.load_model(logged.model_uri)
        history = mlflow.MlflowClient().get_metric_history(run.info.run_id, "loss")
    return [*(entry.value for entry in history), *again(x)[0].tolist()]


@job("wandb", "an offline run that watches a model")
def watched() -> Iterable[float]:
    import os
    import tempfile

    import torch
    import wandb
    x, y = data(16, 4)
    with tempfile.TemporaryDirectory() as folder:
        os.environ["WANDB_SILENT"] = "true"
        run = wandb.init(mode="offline", dir=folder, project="small")
        model = torch.nn.Linear(4, 3)
        run.watch(model, log="all", log_freq=1)
        losses = trained(model, x, y)
        for loss in losses:
            run.log({"loss": loss})
        kept = run.summary["loss"]
        run.finish()
    return [*losses, kept]


@job("ray", "ray.train: a TorchTrainer with one worker")
def distributed() -> Iterable[float]:
    import os
    import tempfile

    import ray
    import ray.train
    from ray.train.torch import TorchTrainer

    def work() -> None:
        import ray.train.torch
        import torch
        torch.manual_seed(0)
        x, y = torch.randn(16, 4), torch.randint(0, 3, (16,))
        model = ray.train.torch.prepare_model(torch.nn.Linear(4, 3))
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        for _ in range(3):
            loss = torch.nn.functional.cross_entropy(model(x), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        ray.train.report({"loss": loss.item()})
    os.environ["RAY_TRAIN_V2_ENABLED"] = "1"
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, object_store_memory=100 * 2 ** 20)
    try:
        with tempfile.TemporaryDirectory() as folder:
            done = TorchTrainer(work, scaling_config=ray.train.ScalingConfig(num_workers=1, use_gpu=False),
                                run_config=ray.train.RunConfig(storage_path=folder)).fit()
        return [done.metrics["loss"]]
    finally:
        ray.shutdown()
