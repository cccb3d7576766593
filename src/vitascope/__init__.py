"""Vitascope: what does a frozen video encoder see, appearance or motion, and can the number be trusted?"""

__version__ = "0.1.0"
