"""The numba kernels of the codec: integer, deterministic, GIL-free.

Nothing here allocates by what a container says, and nothing reads outside the arrays it is
given as long as the documented preconditions hold; callers in ``codec.tile`` establish them.
"""
