"""Shared by temporal localization and segmentation probes: data, networks, targets, presets."""
