"""A software renderer that draws the simulated speaker as video; needs numba, and PyAV for writing."""
