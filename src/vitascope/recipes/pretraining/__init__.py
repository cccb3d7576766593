"""Pretraining recipes: one file a family, with a literal `RECIPES` and `build(name, **options)`."""
