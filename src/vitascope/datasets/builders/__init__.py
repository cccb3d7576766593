"""One file per dataset, found by its existence: `build(variant, root=...)` returns a `Dataset`."""
