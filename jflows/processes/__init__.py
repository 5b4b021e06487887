"""Many processes: how they start (`starting`), what they ask each other (`together`), a launcher (`launching`)."""
