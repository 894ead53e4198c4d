"""Scores over whole micrographs, candidates, and what is exported."""
