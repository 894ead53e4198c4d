"""apbc: learn from good and bad particles, and pick every micrograph again."""

__version__ = "0.1.0"
