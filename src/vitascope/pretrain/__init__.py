"""Pretraining: masks, targets, streams of clips, the loop, its flight recorder, and the way out to an encoder."""
