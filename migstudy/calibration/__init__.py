"""The simulator beside recordings of real people."""
