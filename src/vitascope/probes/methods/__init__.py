"""One file per probe, found by its existence: `name/variant` names a module and the argument of its `build`."""
