"""Bringing sessions over from another program's database."""
