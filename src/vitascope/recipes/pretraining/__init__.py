"""Recipes of pretraining: one file a family, with the names it has (`RECIPES`) and `build(name, **options)`."""
