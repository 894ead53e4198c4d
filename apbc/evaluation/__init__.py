"""Picks against known particles: matching and figures."""
