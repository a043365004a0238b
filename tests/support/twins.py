"""Kernels without their doors: what NumPy alone computes."""


def use_twins(monkeypatch, *modules):
    """Put the NumPy twin in the place of every kernel of these modules of rushlight.kernels."""
    found = [(module, name, door.fallback) for module in modules for name, door in vars(module).items() if hasattr(door, "fallback")]
    assert found
    for module, name, twin in found:
        monkeypatch.setattr(module, name, twin)
