"""The parameters of every task: one flat, typed, frozen dataclass each."""
