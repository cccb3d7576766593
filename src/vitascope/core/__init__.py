"""Data types and utilities shared by all rooms; imports nothing else of the package."""
