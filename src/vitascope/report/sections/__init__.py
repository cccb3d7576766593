"""Sections of the report page: rows and cells that the templates print."""
