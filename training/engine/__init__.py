"""The training loop: one readable loop on Lightning Fabric, its state on disk, its guards and pictures.

`loop.train` runs any `training.recipes.Recipe` over batches that are numbered, not streamed: batch N is the
same whenever it is asked for. Every step starts from random generators that are seeded by (seed, step, rank).
So a checkpoint holds tensors, plain numbers and one position, and a run that was killed goes on from its last
checkpoint to the same bits (on one kind of processor, with the same number of threads).
"""
