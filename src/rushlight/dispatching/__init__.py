"""Operators as PyTorch's dispatcher shows them: `TorchDispatchMode`, ``__torch_dispatch__``, and what stands on them.

`naming.py` finds the operator that a public function is, `lowering.py` takes apart what PyTorch takes apart, `modes.py` hands operators to
modes and subclasses, `derivatives.py` and `passes.py` do the same in the backward pass. All of it is off, and costs nothing, until a mode
is entered or a tensor of a class with ``__torch_dispatch__`` is made.
"""
