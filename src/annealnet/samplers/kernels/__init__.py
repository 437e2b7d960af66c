"""Numba kernels: no Python object inside, one random stream per read, threads over reads."""
