"""Maps: embeddings projected to the plane, each with what says how far the picture can be trusted."""
