"""Where the clips of pretraining come from: endless, shuffled, sharded by rank, and resumable to the clip."""
