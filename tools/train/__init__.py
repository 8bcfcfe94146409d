"""Training of the 1-bit keyword spotting network with PyTorch. See README.md in this folder."""
