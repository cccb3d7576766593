"""Recipes: whole evaluations as Python functions."""
