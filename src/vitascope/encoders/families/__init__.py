"""One file per model family, pure data and found by its existence: `family/variant` names an entry of it."""
