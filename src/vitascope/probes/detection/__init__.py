"""Spatio-temporal localization: boxes and classes of actors at keyframes."""
