"""How exactly a GPU multiplies float32: what ``torch.set_float32_matmul_precision`` was told, and the kernels read."""

matmul = "highest"
