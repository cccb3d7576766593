"""Geometry of the report's figures: SVG, PNG and text."""
