"""One run: its folder, its state, its claim, and the notebook that papermill executes in it."""
