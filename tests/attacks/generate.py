"""Calls made up from PyTorch's schemas, with awkward arguments: text that both sides evaluate.

A call is an expression such as ``torch.add(T('float32', (2, 1), 't', 'some', 7), 2.5, alpha=-1)``; `T` (`outcomes.py`) makes the same tensor on both
sides. The same seed gives the same calls as long as PyTorch has the same schemas.
"""

import inspect
import random
import typing

import torch

# What gives memory as it is found, changes the process, waits, or is no function of its arguments; and decompositions of nobody's interest.
LEFT_OUT = frozenset(
    "empty empty_like empty_permuted empty_quantized empty_strided new_empty new_empty_strided resize_ resize_as_ resize_as_sparse_ resize set_ set "
    "set_data from_file data_ptr const_data_ptr record_stream share_memory_ storage untyped_storage seed manual_seed "
    "_print backward requires_grad_ retain_grad rename rename_ refine_names align_to align_as align_tensors names "
    "sym_size sym_stride sym_numel sym_storage_offset is_vulkan_available quantize_per_channel quantize_per_tensor dequantize int_repr "
    "q_scale q_zero_point q_per_channel_axis q_per_channel_scales q_per_channel_zero_points qscheme set_anomaly_enabled to_mkldnn "
    "cudnn_is_acceptable pin_memory is_pinned sspaddmm saddmm hspmm smm lobpcg to_padded_tensor module_load __dlpack__ "
    "ormqr orgqr geqrf linalg_householder_product gradient sparse_resize_ sparse_resize_and_clear_ apply_ map_ map2_ as_subclass "
    "fused_moving_avg_obs_fake_quant fake_quantize_per_channel_affine fake_quantize_per_tensor_affine choose_qparams_optimized "
    "multi_head_attention_forward boolean_dispatch assert_int_or_pair handle_torch_function has_torch_function has_torch_function_unary "
    "has_torch_function_variadic scaled_mm grouped_mm scaled_grouped_mm hash_tensor index resize_as chalf set_grad_enabled is_grad_enabled".split())
FACTORIES = ("dtype", "layout", "device", "pin_memory", "generator", "memory_format", "out", "names", "non_blocking")
DTYPES = ("float32", "float32", "float32", "float64", "int64", "int64", "int32", "bool", "uint8", "int8", "int16", "float16", "bfloat16", "complex64", "complex128")
SHAPES = ((), (0,), (1,), (3,), (4,), (2, 3), (3, 3), (2, 0), (1, 4), (2, 3, 4), (2, 2, 2), (1, 2, 3, 4), (2, 3, 4, 4), (1, 1, 2, 3, 3), (3, 1), (0, 3, 3))
WORDS = ("none", "mean", "sum", "max", "floor", "trunc", "ij", "xy", "fro", "nuc", "reflect", "replicate", "constant", "circular", "tanh", "valid", "same",
         "linear", "nearest", "bilinear", "bicubic", "area", "zeros", "border", "prod", "amax", "amin", "reduced", "complete", "raise", "", "bogus")
INTEGERS = (0, 0, 1, 1, 1, 2, 2, 3, 4, -1, -1, -2, -3, 5, 7, 100)
HUGE = (2**31 - 1, -2**31, 2**31, 2**40, 2**63 - 1, -2**63, 2**63, 10**30)
FLOATS = (0.0, 0.5, 1.0, -1.0, 2.0, 1e-3, 0.1, -0.5, 3.7, 1e-8)
EXTREME = ("inf", "-inf", "nan", "1e300", "-0.0", "1e-320")
WRONG = ("None", "'x'", "[]", "[1]", "(1, 2)", "{}", "1.5", "3", "True", "2j", "object()", "[None]", "['a']", "torch.float32", "slice(None)", "[[1], [2]]",
         "T('float32', (2,), 'c', 'some', 1)", "[T('float32', (2,), 'c', 'some', 1)]", "b'x'", "range(2)", "torch.strided", "'cpu'", "...")
INDEX_NAMES = ("index", "indices", "target", "offsets", "tau_index", "pivots", "LU_pivots", "input_lengths", "target_lengths", "batch_sizes", "targets",
               "repeats", "index1")


class Parameter:
    """A parameter of a function: its name, PyTorch's word for its type, whether it has a default, whether it is given by name only."""

    __slots__ = ("name", "type", "optional", "keyword")

    def __init__(self, name, type, optional, keyword):
        self.name, self.type, self.optional, self.keyword = name, type, optional, keyword


def _word(annotation):
    """An annotation of nn.functional as a schema's word."""
    text = annotation if isinstance(annotation, str) else getattr(annotation, "__name__", str(annotation)) if annotation.__class__ is type else str(annotation)
    optional = "None" in text or "Optional" in text
    for mark, word in (("Tensor", "Tensor"), ("BroadcastingList", "int[]"), ("List[int]", "int[]"), ("list[int]", "int[]"), ("bool", "bool"), ("str", "str"),
                       ("int", "int"), ("float", "float"), ("dtype", "ScalarType"), ("DType", "ScalarType")):
        if mark in text:
            return word + ("?" if optional else "")
    return "any"


def _of_python(function):
    try:
        found = inspect.signature(function).parameters.values()
        hints = typing.get_type_hints(function) if not isinstance(function, torch._C.ScriptFunction) else {}
    except (TypeError, ValueError, NameError):
        return None
    return [Parameter(p.name, _word(hints.get(p.name, p.annotation)), p.default is not p.empty, p.kind is p.KEYWORD_ONLY)
            for p in found if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD) and not p.name.startswith("_") and p.name not in FACTORIES]


def _of_schema(schema):
    parameters = []
    for each in schema.arguments:
        word = str(each.type)
        if each.is_out or "Dimname" in word or "Storage" in word or "Stream" in word or "t[]" == word:
            return None
        optional = each.has_default_value() or each.name in FACTORIES
        parameters.append(Parameter("input" if each.name == "self" else each.name, _schema_word(each), optional, each.kwarg_only))
    return parameters


def _schema_word(argument):
    word = str(argument.type)
    real = str(getattr(argument, "real_type", word))
    word = real if "ScalarType" in real or "MemoryFormat" in real or "Layout" in real else word
    optional = "Optional" in word or word.endswith("?")
    for mark, found in (("ScalarType", "ScalarType"), ("Layout", "Layout"), ("MemoryFormat", "MemoryFormat"), ("Device", "Device"), ("Generator", "Generator"),
                        ("List[Optional[Tensor]]", "Tensor?[]"), ("List[Tensor]", "Tensor[]"), ("List[int]", "int[]"), ("List[bool]", "bool[]"),
                        ("List[float]", "float[]"), ("List[number]", "Scalar[]"), ("Tensor", "Tensor"), ("bool", "bool"), ("number", "Scalar"), ("str", "str"),
                        ("float", "float"), ("int", "int"), ("complex", "Scalar")):
        if mark in word:
            return found + ("?" if optional else "")
    return "any"


def targets():
    """[(expression of the function, its parameters), ...] of live PyTorch, sorted."""
    found = {}
    for schema in torch._C._jit_get_all_schemas():
        space, _, name = schema.name.partition("::")
        if space != "aten" or name in LEFT_OUT or name.startswith(("_", "linalg__")) or "backward" in name or name.startswith(("cudnn", "miopen", "mkldnn", "fbgemm", "quantized")):
            continue
        parameters = _of_schema(schema)
        if parameters is None:
            continue
        for place in _places(name):
            found.setdefault((place, schema.overload_name), parameters)
    for name in dir(torch.nn.functional):
        function = getattr(torch.nn.functional, name)
        if name[0] != "_" and name not in LEFT_OUT and inspect.isfunction(function) and (parameters := _of_python(function)):
            found[f"torch.nn.functional.{name}", ""] = parameters
    return [(place, found[place, overload]) for place, overload in sorted(found)]


def _places(name):
    spaces = [(torch, "torch", name), (torch.Tensor, "torch.Tensor", name), (torch._C._nn, "torch.nn.functional", name)]
    for space in ("linalg", "special", "fft"):
        if name.startswith(space + "_"):
            spaces = [(getattr(torch, space), f"torch.{space}", name[len(space) + 1:])]
    for owner, place, short in spaces:
        if callable(getattr(torch.nn.functional if place == "torch.nn.functional" else owner, short, None)):
            yield f"{place}.{short}"


class Maker:
    """Makes up calls. Most arguments fit the first tensor's shape and dtype, so that calls often get as far as computing."""

    def __init__(self, seed):
        self.random = random.Random(seed)
        self.targets = targets()

    def call(self):
        """One call."""
        place, parameters = self.random.choice(self.targets)
        draw = self.random
        self.shape, self.dtype, self.calm = draw.choice(SHAPES), draw.choice(DTYPES), draw.random() < 0.5
        arguments, named = [], False
        for each in parameters:
            if each.optional and draw.random() < (0.9 if each.name in FACTORIES else 0.55):
                named = True
                continue
            if not each.optional and not self.calm and draw.random() < 0.01:
                named = True
                continue
            text = draw.choice(WRONG) if not self.calm and draw.random() < 0.08 else self.value(each)
            named = named or each.keyword or draw.random() < 0.08 and not place.startswith("torch.Tensor.")
            arguments.append(f"{each.name}={text}" if named else text)
        if not self.calm and draw.random() < 0.01:
            arguments.append("bogus=1" if named else "1")
        if place.startswith("torch.Tensor.") and arguments and not arguments[0].startswith("T("):
            arguments[0] = self.tensor("input")
        return f"{place}({', '.join(arguments)})"

    def value(self, parameter):
        """An argument as text."""
        word, draw = parameter.type, self.random
        if word.endswith("?") and not word.endswith("[]?") and draw.random() < 0.3:
            return "None"
        word = word.rstrip("?")
        if word == "Tensor":
            return self.tensor(parameter.name)
        if word in ("Tensor[]", "Tensor?[]"):
            return "[" + ", ".join(self.tensor(parameter.name) for _ in range(draw.choice((0, 1, 2, 2, 3)))) + "]"
        if word == "int":
            return str(self.integer(parameter.name))
        if word in ("int[]", "bool[]", "float[]", "Scalar[]"):
            if word == "int[]" and draw.random() < 0.25:
                return str(self.integer(parameter.name))
            n = draw.choice((0, 1, 1, 2, 2, 3, len(self.shape)))
            if parameter.name in ("size", "shape") and draw.random() < 0.5:
                return str(list(self.shape))
            return "[" + ", ".join({"int[]": lambda: str(self.integer(parameter.name)), "bool[]": lambda: draw.choice(("True", "False"))}.get(
                word, self.real)() for _ in range(n)) + "]"
        if word == "Scalar":
            return draw.choice((self.real(), str(self.integer("")), str(draw.choice(INTEGERS)), "True", "1.5j" if draw.random() < 0.3 else "2"))
        simple = {"float": self.real, "bool": lambda: draw.choice(("True", "False")), "str": lambda: repr(draw.choice(WORDS)),
                  "ScalarType": lambda: "torch." + draw.choice(DTYPES), "Layout": lambda: "torch.strided", "Device": lambda: "'cpu'",
                  "MemoryFormat": lambda: "torch." + draw.choice(("contiguous_format", "preserve_format", "channels_last")), "Generator": lambda: "None"}
        return simple.get(word, lambda: draw.choice((str(draw.choice(INTEGERS)), self.real(), "None", "True", repr(draw.choice(WORDS)))))()

    def integer(self, name):
        """An integer, for dimensions mostly one of them."""
        draw = self.random
        if not self.calm and draw.random() < 0.05:
            return draw.choice(HUGE)
        if name in ("dim", "dims", "dim0", "dim1", "axis", "start_dim", "end_dim", "axis0", "axis1") and draw.random() < 0.85:
            n = max(len(self.shape), 1)
            return draw.randrange(-n, n) if self.calm or draw.random() < 0.85 else draw.choice((n, -n - 1))
        return draw.choice(INTEGERS)

    def real(self):
        """A float."""
        draw = self.random
        return draw.choice(EXTREME) if not self.calm and draw.random() < 0.15 else str(draw.choice(FLOATS))

    def tensor(self, name):
        """A tensor: shape, dtype, layout in memory, values."""
        draw = self.random
        shape = self.shape if draw.random() < (0.9 if self.calm else 0.75) else draw.choice(SHAPES)
        dtype = self.dtype if draw.random() < (0.95 if self.calm else 0.8) else draw.choice(DTYPES)
        if name in INDEX_NAMES and draw.random() < 0.85:
            dtype = "int64"
        elif name in ("mask", "condition") and draw.random() < 0.8:
            dtype = "bool"
        layout = "c" if draw.random() < 0.6 else draw.choice("tseo")
        values = "some" if self.calm or draw.random() < 0.7 else draw.choice(("extreme", "zero", "large"))
        if name in INDEX_NAMES and dtype == "int64" and draw.random() < 0.8:
            values = "index"
        return f"T({dtype!r}, {shape}, {layout!r}, {values!r}, {draw.randrange(1000)})"


def calls(seed, count):
    """`count` calls."""
    maker = Maker(seed)
    return [maker.call() for _ in range(count)]
