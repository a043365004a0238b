"""``torch.fx.experimental``: what asks whether something is being traced."""
