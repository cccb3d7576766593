"""Dataset builders, one discovered module per dataset: `build(variant, root=...)` returns a `Dataset`."""
