"""One file per family of pretraining recipes, discovered automatically: `RECIPES` and `build(name, **options)`."""
