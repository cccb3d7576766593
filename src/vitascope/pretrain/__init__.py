<<<<<<< HEAD
"""Pretraining of a video encoder: what it sees, what it predicts, from which data, and the loop that trains it."""
=======
"""Pretraining: what is hidden, what is predicted, what is looked at, and the loop that learns from it."""
>>>>>>> stream
