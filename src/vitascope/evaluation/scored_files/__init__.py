"""Scores of predictions in files, made elsewhere: no model and no video is needed."""
