"""Passes over graphs: modules by PyTorch's names."""
