"""What the probes of temporal localization and segmentation share: data, networks, targets, presets."""
