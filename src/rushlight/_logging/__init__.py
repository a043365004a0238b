"""``torch._logging``: PyTorch's logs of its compiler. Nothing is compiled here, so there is nothing to log."""
