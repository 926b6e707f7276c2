"""The training loop: one readable loop on Lightning Fabric, its state on disk, its guards and pictures."""
