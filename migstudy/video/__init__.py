"""Video of clips: films decoded at the frames asked for, cut to the person, cached, as tokens."""
