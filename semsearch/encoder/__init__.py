"""From text to vectors: poolers, checkpoints, runtimes."""
