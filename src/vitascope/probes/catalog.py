"""Registry of all probes by name."""

from vitascope.core.registry import Registry

PROBES = Registry("probes", "vitascope.probes.methods")
