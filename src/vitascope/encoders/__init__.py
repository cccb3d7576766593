"""Encoders, one file a family: `family/variant` names a module here and the argument of its `build`."""
