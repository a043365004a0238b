"""SummaryWriter against PyTorch's: the same calls, then the event files of both, read with TensorBoard's own reader."""

import io
import os
import subprocess
import sys

import numpy as np
import pytest

from tests.support.common import rl

try:
    import tensorboard  # noqa: F401
    HERE = True
except ImportError:
    HERE = False
needs_tensorboard = pytest.mark.skipif(not HERE, reason="the package tensorboard is not installed")
SIDES = ("torch", "rushlight")


def side(name):
    """The library `name` with its writer."""
    if name == "rushlight":
        from rushlight.utils import tensorboard as board
        return rl, board
    import torch
    from torch.utils import tensorboard as board
    return torch, board


def events(folder):
    """All events of all files, by the file's folder, without time."""
    from tensorboard.backend.event_processing.event_file_loader import RawEventFileLoader
    from tensorboard.compat.proto.event_pb2 import Event
    found = {}
    for place, _, names in sorted(os.walk(folder)):
        for name in sorted(names):
            if "tfevents" in name:
                for raw in RawEventFileLoader(os.path.join(place, name)).Load():
                    event = Event.FromString(raw)
                    event.wall_time = 0
                    event.ClearField("source_metadata")
                    found.setdefault(os.path.relpath(place, folder), []).append(event)
    return found


def logged(tmp_path, calls):
    """The events that `calls(torch, writer)` leaves on each side; both wrote something."""
    both = []
    for name in SIDES:
        torch, board = side(name)
        with board.SummaryWriter(str(tmp_path / name)) as writer:
            calls(torch, writer)
        both.append(events(tmp_path / name))
    assert sum(len(each) for each in both[0].values()) > 1
    return both


def numbers(torch, *shape):
    return torch.from_numpy(np.random.default_rng(0).random(shape, dtype=np.float32))


def scalars(torch, w):
    w.add_scalar("a/loss", 1.5, 3)
    w.add_scalar("a/loss", torch.tensor([2.5]), torch.tensor(4), new_style=True)
    w.add_scalar("b", np.float64(1 / 3), 5, walltime=7.0, new_style=True, double_precision=True)
    w.add_scalar("half", torch.tensor(0.1, dtype=torch.bfloat16))
    w.add_scalars("run/all", {"x": 1, "y": torch.tensor(2.0)}, 6)
    w.add_scalars("run/all", {"x": 2}, 7)


def tensors(torch, w):
    for number, dtype in enumerate(("float16", "bfloat16", "float32", "float64", "uint8", "int8", "int16", "int32", "int64", "bool", "complex64",
                                    "complex128")):
        w.add_tensor(dtype, torch.arange(6).reshape(2, 3).to(getattr(torch, dtype)), number)
    w.add_tensor("int8", torch.tensor([-1, 2], dtype=torch.int8))


def histograms(torch, w):
    values = numbers(torch, 40, 5) - 0.3
    w.add_histogram("h", values, 1)
    w.add_histogram("h", values, 2, bins="auto")
    w.add_histogram("h", values, 3, bins=100, max_bins=30)
    w.add_histogram("h", torch.zeros(4, dtype=torch.int64), 4, bins=[0, 1, 2])
    w.add_histogram_raw("raw", 0, 5, 4, 9, 20.5, [1, 2, 5], [1, 1, 2], 5)


def images(torch, w):
    w.add_image("chw", numbers(torch, 3, 5, 6), 1)
    w.add_image("hw", numbers(torch, 5, 6) * 2 - 0.5, 1, dataformats="HW")
    w.add_image("hwc", (numbers(torch, 5, 6, 1) * 255).to(torch.uint8), 1, dataformats="HWC")
    w.add_image("array", numbers(torch, 4, 5, 6).numpy()[:, :, :], dataformats="CHW")
    w.add_images("nchw", numbers(torch, 11, 3, 5, 6), 2)
    w.add_images("nhwc", numbers(torch, 3, 5, 6, 1), 2, dataformats="NHWC")
    w.add_image_with_boxes("boxes", numbers(torch, 3, 40, 60), torch.tensor([[2.0, 3, 30, 30], [10, 8, 50, 35]]), 3, labels=["one", "two"])
    w.add_image_with_boxes("boxes", numbers(torch, 3, 40, 60), torch.tensor([[2.0, 3, 30, 30]]), 4, rescale=2, labels=["one", "two"])


def texts(torch, w):
    w.add_text("words", "**bold** 中文", 1)
    w.add_custom_scalars({"group": {"many": ["Multiline", ["a", "b"]], "margin": ["Margin", ["a", "b", "c"]]}})
    w.add_custom_scalars_multilinechart(["a", "b"], "c", "t")
    w.add_custom_scalars_marginchart(["a", "b", "c"])


def curves(torch, w):
    labels, predictions = (numbers(torch, 50) > 0.5), numbers(torch, 50) * 0.9
    w.add_pr_curve("pr", labels, predictions, 1)
    w.add_pr_curve("pr", labels.numpy(), predictions.numpy(), 2, num_thresholds=11, weights=2.0)
    w.add_pr_curve("pr", labels.to(torch.int64), predictions, 3, num_thresholds=500)
    rows = [numbers(torch, 6).numpy() for _ in range(6)]
    w.add_pr_curve_raw("raw", *rows, 4, num_thresholds=6)


def sounds_and_meshes(torch, w):
    w.add_audio("sound", numbers(torch, 1, 200) * 2 - 1, 1, sample_rate=8000)
    w.add_audio("loud", numbers(torch, 200) * 3, 1)
    points = numbers(torch, 1, 4, 3)
    w.add_mesh("points", points, global_step=1)
    w.add_mesh("mesh", points, colors=torch.tensor([[[255, 0, 0]] * 4], dtype=torch.int32), faces=torch.tensor([[[0, 2, 3], [0, 3, 1]]]),
               config_dict={"camera": {"cls": "PerspectiveCamera", "fov": 75}})


def settings(torch, w):
    w.add_hparams({"lr": 0.1, "layers": 3, "name": "adam", "bias": True, "none": None, "t": torch.tensor([2.0])}, {"acc": 0.9, "loss": 1},
                  {"name": ["adam", "sgd"], "layers": [1, 2, 3]}, run_name="one", global_step=4)


@needs_tensorboard
@pytest.mark.parametrize("calls", [scalars, tensors, histograms, images, texts, curves, sounds_and_meshes, settings])
def test_the_same_events(tmp_path, calls):
    theirs, ours = logged(tmp_path, calls)
    assert list(theirs) == list(ours)
    for place in theirs:
        assert len(theirs[place]) == len(ours[place])
        for one, other in zip(theirs[place], ours[place]):
            assert one == other


@needs_tensorboard
def test_figures(tmp_path):
    matplotlib = pytest.importorskip("matplotlib")
    matplotlib.use("agg")
    import matplotlib.pyplot as plt

    def calls(torch, w):
        def figure():
            made = plt.figure(figsize=(1, 1), dpi=40)
            made.add_subplot().plot([1, 3, 2])
            return made
        kept = figure()
        w.add_figure("kept", kept, 1, close=False)
        assert plt.fignum_exists(kept.number)
        w.add_figure("closed", kept, 2)
        assert not plt.fignum_exists(kept.number)
        w.add_figure("several", [figure(), figure()], 3)
    theirs, ours = logged(tmp_path, calls)
    assert theirs == ours


@needs_tensorboard
def test_embeddings(tmp_path):
    def calls(torch, w):
        points = numbers(torch, 5, 3)
        w.add_embedding(points, metadata=["a", "b", 3, "d", "e"], label_img=numbers(torch, 5, 3, 4, 6), global_step=2, tag="a/b%c")
        w.add_embedding(points.to(torch.float64), metadata=[["x", 1]] * 5, metadata_header=["name", "age"])
        w.add_scalar("a", 1)
    logged(tmp_path, calls)
    files = [{os.path.relpath(os.path.join(place, name), tmp_path / side): open(os.path.join(place, name), "rb").read()
              for place, _, names in os.walk(tmp_path / side) for name in names if "tfevents" not in name} for side in SIDES]
    assert len(files[0]) == 6 and files[0] == files[1]


@needs_tensorboard
def test_the_same_errors(tmp_path):
    wrong = {
        "labels": lambda torch, w: w.add_embedding(numbers(torch, 3, 2), metadata=["a"]),
        "points": lambda torch, w: w.add_embedding(numbers(torch, 3), tag="one"),
        "margin": lambda torch, w: w.add_custom_scalars_marginchart(["a"]),
        "scalar": lambda torch, w: w.add_scalar("a", torch.ones(2)),
        "word": lambda torch, w: w.add_scalar("a", [1, 2]),
        "empty": lambda torch, w: w.add_histogram("a", torch.ones(0)),
        "raw": lambda torch, w: w.add_histogram_raw("a", 0, 1, 1, 1, 1, [1, 2], [1]),
        "hparams": lambda torch, w: w.add_hparams([1], {}),
        "setting": lambda torch, w: w.add_hparams({"a": [1]}, {}),
        "domain": lambda torch, w: w.add_hparams({"a": 1}, {}, {"a": ["x"]}),
        "layout": lambda torch, w: w.add_image("a", numbers(torch, 3, 4), dataformats="CHW"),
        "twice": lambda torch, w: w.add_image("a", numbers(torch, 3, 4, 4), dataformats="CHH"),
        "sound": lambda torch, w: w.add_audio("a", numbers(torch, 2, 4)),
    }
    for name, call in wrong.items():
        raised = []
        for each in SIDES:
            torch, board = side(each)
            with board.SummaryWriter(str(tmp_path / each)) as writer, pytest.raises(Exception) as error:
                call(torch, writer)
            raised.append((error.type, " ".join(str(error.value).replace("rushlight", "torch").split())))
        assert raised[0] == raised[1], name
    _, board = side("rushlight")
    with board.SummaryWriter(str(tmp_path / "x")) as writer, pytest.raises(NotImplementedError, match="add_graph"):
        writer.add_onnx_graph("model.pb")


@needs_tensorboard
def test_graph(tmp_path):
    """The graph of this run: the same modules, functions and shapes as in PyTorch's trace, under the same names of modules."""
    def calls(torch, w):
        class Net(torch.nn.Module):
            def __init__(self):
                super().__init__()
                self.body = torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.ReLU())
                self.head = torch.nn.Linear(3, 2)

            def forward(self, x):
                return self.head(self.body(x)).tanh()
        w.add_graph(Net().train(), torch.randn(5, 4))
    from tensorboard.compat.proto.graph_pb2 import GraphDef
    nodes = []
    for each in logged(tmp_path, calls):
        graph = next(GraphDef.FromString(event.graph_def) for event in each["."] if event.graph_def)
        nodes.append(sorted((node.op, node.name.rpartition("/")[0], [tuple(d.size for d in s.dim) for s in node.attr["_output_shapes"].list.shape])
                            for node in graph.node if node.op.startswith("aten::")))
    assert len(nodes[0]) == 4 and nodes[0] == nodes[1]


@needs_tensorboard
def test_graph_of_a_model_that_fails_leaves_it_as_it_was(tmp_path, capsys):
    _, board = side("rushlight")
    model = rl.nn.Sequential(rl.nn.Linear(4, 3), rl.nn.Dropout())
    with board.SummaryWriter(str(tmp_path)) as writer:
        with pytest.raises(RuntimeError):
            writer.add_graph(model, rl.randn(5, 5))
        assert model.training and model[1].training and not model[0]._forward_hooks and not model[0]._forward_pre_hooks
        writer.add_graph(model, rl.randn(5, 4), verbose=True)
        assert model.training and "Sequential/Linear[0]/linear: aten::linear(input/input.1, " in capsys.readouterr().out
        with pytest.raises(TypeError, match="torch.nn.Module"):
            writer.add_graph(lambda x: x, rl.randn(1))


@needs_tensorboard
def test_video(tmp_path):
    from PIL import Image
    _, board = side("rushlight")
    with board.SummaryWriter(str(tmp_path)) as writer:
        writer.add_video("v", rl.rand(3, 4, 3, 5, 6), 1, fps=10)
        with pytest.raises(AssertionError, match="N, T, C, H, W"):
            writer.add_video("v", rl.rand(4, 3, 5, 6))
    value = events(tmp_path)["."][1].summary.value[0].image
    picture = Image.open(io.BytesIO(value.encoded_image_string))
    assert (picture.n_frames, picture.size, value.height, value.width) == (4, (24, 5), 5, 24)


@needs_tensorboard
def test_files_folders_and_closing(tmp_path, monkeypatch):
    """A folder by date and host, one event file that goes on anew after close, purging, and FileWriter alone."""
    monkeypatch.chdir(tmp_path)
    for name in SIDES:
        torch, board = side(name)
        writer = board.SummaryWriter(comment=f"_{name}", purge_step=7, filename_suffix=".mine", max_queue=1, flush_secs=1)
        folder = writer.get_logdir()
        assert folder == writer.log_dir and folder.startswith("runs" + os.sep) and folder.endswith("_" + name)
        writer.add_scalar("a", 1, 1)
        writer.flush()
        assert [event.step for event in events(folder)["."]] == [0, 7, 7, 1]
        writer.close()
        writer.close()
        writer.add_scalar("a", 2, 2)
        writer.close()
        assert all(file.endswith(".mine") for file in os.listdir(folder))
        files = board.FileWriter(tmp_path / f"alone_{name}")
        assert files.get_logdir() == str(tmp_path / f"alone_{name}")
        files.close()
    again = side("rushlight")[1].FileWriter(tmp_path / "again")          # PyTorch's reopen calls what tensorboard no longer has
    again.reopen()
    again.close()
    again.reopen()
    again.add_summary(side("rushlight")[1].writer.summary.scalar("a", 1.0), 5)
    again.close()
    assert [event.step for event in events(tmp_path / "again")["."]] in ([0, 0, 5], [0, 5])
    assert side("torch")[1].SummaryWriter().default_bins == side("rushlight")[1].SummaryWriter().default_bins


def test_without_the_package():
    """The import says what to install, and `import torch` has loaded none of it."""
    program = ("import sys; sys.modules['tensorboard'] = None; import rushlight.utils\n"
               "try:\n    from rushlight.utils.tensorboard import SummaryWriter\n"
               "except ImportError as error:\n    print(error, error.name)")
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert "pip install tensorboard tensorboard" in done.stdout, done
