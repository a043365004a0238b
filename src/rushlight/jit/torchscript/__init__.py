"""TorchScript archives: what PyTorch's ``torch.jit.save`` wrote, read and run without running any of it as Python.

An archive holds source text in a language that looks like Python, and a pickle of the module that the text is for. `language` turns the
text into closures of ours, which call nothing but what `operators` has; `library` finds definitions by their names; `archive` reads and
writes the files; `modules` are what comes out.
"""
