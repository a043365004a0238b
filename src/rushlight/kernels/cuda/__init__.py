"""Fused CUDA kernels: source text compiled at first use (NVRTC, through CuPy), kept for the process and, by CuPy, on disk."""
