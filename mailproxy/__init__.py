"""Keeps a fleet of perimeter Postfix hosts as declared; see README.md."""
