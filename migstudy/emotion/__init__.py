"""Win or lose from whole videos (paper B, track 2): protocols, features, training, and what so few videos can tell."""
