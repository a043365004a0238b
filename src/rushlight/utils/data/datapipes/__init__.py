"""``torch.utils.data.datapipes``: the base classes of data pipes."""
