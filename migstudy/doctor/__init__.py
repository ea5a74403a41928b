"""The data doctor: what is wrong with clips before anything is trained on them."""
