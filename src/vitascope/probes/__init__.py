"""Probes, one file a question: `name/variant` names a module here and the argument of its `build`."""
