"""What ``rushlight run`` says below an error of a common kind: the call with its shapes side by side, and what to do.

In Chinese where that is the reader's language.

The error itself keeps PyTorch's words, so that a search finds them; this is a note on it (PEP 678), which tracebacks and
pretty printers show below. RUSHLIGHT_LANG=zh (or en, or none for no notes) chooses the language; else the locale does.
Nothing here is loaded before an error is shown.
"""

from __future__ import annotations

import os
import re
from types import FrameType, TracebackType

from ..homes import is_own
from ..nn.modules.module import Module
from ..tensor import Tensor

__all__ = ["LESSONS", "language", "lesson"]

# What the message says (a pattern), and what to do, in English and in Chinese; {1} is the pattern's first group.
LESSONS: tuple[tuple[str, str, str], ...] = (
    (r"mat1 and mat2 shapes cannot be multiplied \((\d+)x(\d+) and (\d+)x(\d+)\)",
     "The inner sizes have to be equal, and they are {2} and {3}. Before a Linear layer: its in_features is {3}, "
     "so the input's last dimension has to be {3} (flatten with x.flatten(1), or make the layer Linear({2}, …)). "
     "For a product: transpose one side with .mT.",
     "内侧两个维度必须相等,现在是 {2} 和 {3}。若是 Linear 层:它的 in_features 是 {3},输入的最后一维也必须是 {3}(用"
     " x.flatten(1) 展平,或改成 Linear({2}, …))。若是矩阵乘法:用 .mT 转置其中一个。"),
    (r"mat1 and mat2 must have the same dtype, but got (\w+) and (\w+)",
     "The input is {1} and the weights are {2}: convert the input with x.to(weight.dtype), mostly x.float(); "
     "NumPy's arrays are float64 unless made otherwise.",
     "输入是 {1},权重是 {2}:用 x.to(weight.dtype)(多数情况是 x.float())转换输入;NumPy 数组默认是 float64。"),
    (r"expected input\[([\d, ]+)\] to have (\d+) channels, but got (\d+) channels",
     "The layer was made for {2} channels and the input [{1}] has {3}, in dimension 1 of (N, C, …): channels last "
     "are moved with x.permute(0, 3, 1, 2), grey images made three channels with x.expand(-1, 3, -1, -1), or the "
     "layer gets in_channels={3}.",
     "这一层需要 {2} 个通道,而输入 [{1}] 的第 1 维(N, C, …)有 {3} 个:通道在最后时用 x.permute(0, 3, 1, 2),灰度图用"
     " x.expand(-1, 3, -1, -1),或者把该层改成 in_channels={3}。"),
    (r"Expected .*\(unbatched\).*\(batched\) input to \w+, but got input of size: \[([\d, ]*)\]",
     "The input [{1}] lacks a dimension, or has one too many: one sample becomes a batch with x.unsqueeze(0), a "
     "grey image gets its channel with x.unsqueeze(1).",
     "输入 [{1}] 的维数不对:单个样本用 x.unsqueeze(0) 变成一批,灰度图用 x.unsqueeze(1) 加上通道维。"),
    (r"Input type \(([\w.]+)\) and (?:weight|bias) type \(([\w.]+)\) should be the same",
     "Input and layer have to be of one dtype and on one device: move the input with x.to(weight), or the model "
     "with model.to(x.device, x.dtype).",
     "输入和这一层必须是同一种 dtype、在同一个设备上:用 x.to(weight) 移动输入,或用 model.to(x.device, x.dtype) 移"
     "动模型。"),
    (r"running_mean should contain (\d+) elements not (\d+)",
     "num_features of the batch norm is {2}, and dimension 1 of the input is {1}: they have to be equal.",
     "BatchNorm 的 num_features 是 {2},而输入的第 1 维是 {1}:两者必须相等。"),
    (r"Expected more than 1 value per channel when training",
     "Batch norm cannot normalise a single value: the last batch of a loader may hold one sample "
     "(drop_last=True), or the model should be in model.eval().",
     "BatchNorm 无法归一化单个值:最后一批可能只有一个样本(drop_last=True),或者应当先 model.eval()。"),
    (r"Given normalized_shape=\[([\d, ]+)\], expected input with shape",
     "normalized_shape is the end of the input's shape: make it LayerNorm(x.shape[-1]), or give an input that "
     "ends in [{1}].",
     "normalized_shape 是输入形状的末尾:改成 LayerNorm(x.shape[-1]),或者让输入以 [{1}] 结尾。"),
    (r"index out of range in self",
     "An index is not below num_embeddings, or is negative: look at indices.min() and indices.max(); a vocabulary "
     "of n words needs Embedding(n, …), one more with padding.",
     "有索引不小于 num_embeddings,或为负:检查 indices.min() 和 indices.max();n 个词需要 Embedding(n, …),有填充符时"
     "再加一。"),
    (r"Target (-?\d+) is out of bounds",
     "Targets are classes from 0 to C - 1, where C is dimension 1 of the input, and there is a {1}: labels that "
     "begin at 1 need target - 1.",
     "目标是 0 到 C - 1 的类别(C 是输入的第 1 维),而这里有 {1}:从 1 开始的标签要减 1。"),
    (r"Expected input batch_size \((\d+)\) to match target batch_size \((\d+)\)",
     "There are {1} predictions and {2} targets: for sequences, give (N, C, L) with (N, L), or flatten both: "
     "logits.flatten(0, 1), target.flatten().",
     "有 {1} 个预测和 {2} 个目标:序列请用 (N, C, L) 配 (N, L),或者都展平:logits.flatten(0, 1)、target.flatten()。"),
    (r"expected target dtype to be Long|expected scalar type Long but found|to have one of the following scalar types: Long, Int",
     "Indices and classes are whole numbers: target.long().",
     "索引和类别是整数:target.long()。"),
    (r"all elements of (?:input|target) should be between 0 and 1",
     "BCELoss takes probabilities: put a sigmoid before it, or better use BCEWithLogitsLoss on the raw output.",
     "BCELoss 需要概率:先用 sigmoid,更好的办法是对原始输出用 BCEWithLogitsLoss。"),
    (r"The size of tensor a \((\d+)\) must match the size of tensor b \((\d+)\) at non-singleton dimension (\d+)",
     "In dimension {3} one side has {1} and the other {2}; sizes have to be equal, or one of them 1, counted from "
     "the last dimension: x.unsqueeze(dim) adds one.",
     "第 {3} 维一边是 {1},另一边是 {2};从最后一维起,大小必须相等或其中一个为 1:用 x.unsqueeze(dim) 加一维。"),
    (r"Sizes of tensors must match except in dimension (\d+)\. Expected size (\d+) but got size (\d+) for tensor number (\d+)",
     "cat joins along dimension {1}; all others have to be equal, and tensor {4} (counted from 0) has {3} where "
     "the first has {2}: another dim=, or padding.",
     "cat 沿第 {1} 维拼接,其余维必须相等,而第 {4} 个张量(从 0 数)是 {3},第一个是 {2}:换一个 dim=,或先填充。"),
    (r"stack expects each tensor to be equal size, but got (\[[\d, ]*\]) at entry 0 and (\[[\d, ]*\]) at entry (\d+)",
     "Entry {3} is {2}, the first is {1}. Samples of a data set with several sizes: resize or pad them "
     "(nn.utils.rnn.pad_sequence), or give the DataLoader a collate_fn.",
     "第 {3} 个是 {2},第一个是 {1}。数据集里样本大小不一:调整大小或填充(nn.utils.rnn.pad_sequence),或给 "
     "DataLoader 一个 collate_fn。"),
    (r"shape '(\[[-\d, ]*\])' is invalid for input of size (\d+)",
     "{1} does not hold {2} numbers: leave one size to be worked out, x.view(x.shape[0], -1), or look at x.shape "
     "before.",
     "{1} 容纳不了 {2} 个数:留一个大小自动计算,x.view(x.shape[0], -1),或先看 x.shape。"),
    (r"view size is not compatible with input tensor's size and stride",
     "After t(), permute or a slice the numbers are not in a row: use x.reshape(…), or x.contiguous().view(…).",
     "t()、permute 或切片之后,数在内存里不连续:用 x.reshape(…) 或 x.contiguous().view(…)。"),
    (r"index (-?\d+) is out of bounds for dimension (\d+) with size (\d+)",
     "Dimension {2} has the places 0 to {3} - 1 (or -{3} to -1), and {1} is none of them.",
     "第 {2} 维的位置是 0 到 {3} - 1(或 -{3} 到 -1),{1} 不在其中。"),
    (r"Dimension out of range \(expected to be in range of \[(-?\d+), (-?\d+)\], but got (-?\d+)\)",
     "The tensor's dimensions are {1} to {2}; {3} is none of them. Look at x.shape: was a batch dimension lost?",
     "这个张量的维是 {1} 到 {2},没有第 {3} 维。看一下 x.shape:是不是少了批维?"),
    (r"Can't call numpy\(\) on Tensor that requires grad",
     "The array would lose the graph: x.detach().numpy(), or compute under torch.no_grad().",
     "数组无法保留计算图:x.detach().numpy(),或在 torch.no_grad() 下计算。"),
    (r"element 0 of tensors does not require grad and does not have a grad_fn",
     "Nothing on the way to this value asked for gradients: was it computed under no_grad, through .detach(), "
     ".item(), .numpy() or argmax, or from frozen parameters?",
     "得到这个值的过程中没有任何东西需要梯度:是否在 no_grad 下计算,经过了 .detach()、.item()、.numpy() 或 argmax,"
     "或者参数被冻结?"),
    (r"grad can be implicitly created only for scalar outputs",
     "Reduce it to one number first, loss.mean().backward(), or say what the gradient is: "
     "y.backward(torch.ones_like(y)).",
     "先变成一个数:loss.mean().backward();或给出梯度:y.backward(torch.ones_like(y))。"),
    (r"Trying to backward through the graph a second time",
     "Compute the forward pass anew for each backward (a hidden state that lives on needs h = h.detach()), or "
     "keep the graph: backward(retain_graph=True).",
     "每次 backward 之前重新计算前向(保留下来的隐藏状态要 h = h.detach()),或保留计算图:backward(retain_graph=True)"
     "。"),
    (r"modified by an inplace operation",
     "A value that the gradient needs was changed: write y = y + 1 instead of y += 1, relu(x) instead of "
     "relu_(x); set_detect_anomaly(True) says where it was used.",
     "梯度需要的值被改掉了:写 y = y + 1 而不是 y += 1,relu(x) 而不是 relu_(x);set_detect_anomaly(True) 会指出在哪"
     "里用到。"),
    (r"a leaf Variable that requires grad is being used in an in-place operation",
     "Parameters are changed under no_grad: with torch.no_grad(): p.add_(…); or through an optimizer.",
     "在 no_grad 下修改参数:with torch.no_grad(): p.add_(…);或者用优化器。"),
    (r"expected sequence of length (\d+) at dim (\d+) \(got (\d+)\)",
     "The lists are not of one length ({1} and {3}): pad them, or keep a list of tensors "
     "(nn.utils.rnn.pad_sequence makes one of it).",
     "这些列表长度不同({1} 和 {3}):先填充,或保留张量的列表(nn.utils.rnn.pad_sequence 可合成一个)。"),
    (r"a Tensor with (\d+) elements cannot be converted to Scalar",
     "Only one number becomes a Python number: x.mean().item(), x[0].item(), or x.tolist() for all {1}.",
     "只有一个数才能变成 Python 数:x.mean().item()、x[0].item(),或用 x.tolist() 得到全部 {1} 个。"),
    (r"Expected size for first two dimensions of batch2 tensor to be: (\[[\d, ]+\]) but got: (\[[\d, ]+\])",
     "bmm takes (B, N, M) and (B, M, P): the second has to begin with {1}, and begins with {2}; matmul broadcasts "
     "the batch.",
     "bmm 需要 (B, N, M) 和 (B, M, P):第二个应以 {1} 开头,现在是 {2};matmul 会广播批维。"),
    (r"input\.size\(-1\) must be equal to input_size\. Expected (\d+), got (\d+)",
     "input_size of the layer is {1} and the input's last dimension is {2}; the layout is (L, N, {1}), or (N, L, "
     "{1}) with batch_first=True.",
     "这一层的 input_size 是 {1},输入的最后一维是 {2};布局是 (L, N, {1}),或 batch_first=True 时 (N, L, {1})。"),
    (r"embed_dim must be divisible by num_heads",
     "Each head gets embed_dim / num_heads numbers: choose num_heads so that it divides embed_dim.",
     "每个头分到 embed_dim / num_heads 个数:num_heads 必须整除 embed_dim。"),
    (r"Boolean value of Tensor with (?:more than one|no) value",
     "if needs one yes or no: (x > 0).any(), .all(), or torch.where to choose for each element; & and | instead "
     "of and, or.",
     "if 需要一个真假值:(x > 0).any()、.all(),或用 torch.where 逐元素选择;用 & 和 | 代替 and、or。"),
    (r"Error\(s\) in loading state_dict",
     "The file is of another model: names that differ by 'module.' come from DataParallel (strip it); "
     "strict=False loads what fits and tells the rest.",
     "文件属于另一个模型:名字差一个 'module.' 的来自 DataParallel(去掉它);strict=False 载入能对上的并报告其余。"),
    (r"optimizer got an empty parameter list",
     "The model has no parameters here: layers in a plain list are not seen (use nn.ModuleList), and "
     "model.parameters() is used up after one pass.",
     "模型在这里没有参数:普通列表里的层不会被看到(用 nn.ModuleList),model.parameters() 遍历一次就用完了。"),
    (r"(?:Torch not compiled with CUDA enabled|Found no NVIDIA driver)",
     "There is no GPU here: device = 'cuda' if torch.cuda.is_available() else 'cpu', and .to(device) instead of "
     ".cuda().",
     "这里没有 GPU:device = 'cuda' if torch.cuda.is_available() else 'cpu',用 .to(device) 代替 .cuda()。"),
    (r"Calculated padded input size per channel: \(([\d x]+)\)\. Kernel size: \(([\d x]+)\)",
     "The input ({1}) is smaller than the kernel ({2}): fewer poolings or strides before, padding, or larger "
     "images.",
     "输入({1})比卷积核({2})小:减少前面的池化或步长,加 padding,或用更大的图像。"),
)


def language() -> str:
    """"zh", "en" or "none"."""
    chosen = os.environ.get("RUSHLIGHT_LANG", "").lower()
    if not chosen:
        chosen = next((os.environ[name] for name in ("LC_ALL", "LC_MESSAGES", "LANG") if os.environ.get(name)), "en")
    return "none" if chosen == "none" else "zh" if chosen.lower().startswith("zh") else "en"


def lesson(error: BaseException, language: str) -> str:
    """What there is to say of an error: the call with its tensors, and what to do. "" where nothing is known, or no notes are wanted."""
    if language == "none":
        return ""
    text = str(error)
    for pattern, english, chinese in LESSONS:
        found = re.search(pattern, text)
        if found:
            return "\n".join([*_call(error.__traceback__), _filled(chinese if language == "zh" else english, found)])
    return ""


def _filled(advice: str, found: re.Match[str]) -> str:
    """The advice with the groups of the message in it."""
    return re.sub(r"\{(\d)\}", lambda number: found[int(number[1])], advice)


def _call(trace: TracebackType | None) -> list[str]:
    """The innermost module that was running, and the first function of ours with tensors among its arguments, with their shapes."""
    module = call = ""
    while trace is not None:
        frame = trace.tb_frame
        own = frame.f_locals.get("self")
        if isinstance(own, Module) and frame.f_code.co_name == "forward":
            module, call = " ".join(f"{type(own).__name__}({own.extra_repr()})".split()), ""
        if not call and is_own(str(frame.f_globals.get("__name__", ""))):
            call = _arguments(frame)
        trace = trace.tb_next
    return [line for line in (module, call) if line]


def _arguments(frame: FrameType) -> str:
    """``linear(input: 2 x 5 float32, weight: 4 x 3 float32)``; "" where no argument is a tensor."""
    code = frame.f_code
    names = [name for name in code.co_varnames[:code.co_argcount] if isinstance(frame.f_locals.get(name), Tensor)]
    if not names or code.co_name.startswith("_") or code.co_name == "forward":
        return ""
    shown = [f"{name}: {' x '.join(map(str, value.shape)) or 'scalar'} {str(value.dtype).removeprefix('torch.')}"
             for name in names for value in [frame.f_locals[name]]]
    return f"{code.co_name}({', '.join(shown)})"
