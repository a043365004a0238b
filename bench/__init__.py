"""Rushlight against PyTorch, side by side on this machine: ``python -m bench --help``."""
