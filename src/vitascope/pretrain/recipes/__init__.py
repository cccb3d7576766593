"""One file per family of pretraining recipes, found by its existence: `RECIPES` and `build(name, **options)`."""
