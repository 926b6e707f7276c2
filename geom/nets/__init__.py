"""What every network is made of: blocks, and backbones with the key names of their published weights."""
