"""The codec as a C library: `build` makes it, `bridge` is what it calls."""
