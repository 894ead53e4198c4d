"""apbc: learn from good and bad particles, and pick every micrograph again."""

__version__ = "0.1.0"


def __getattr__(name: str) -> type:
    """Give Scipion's plugin manager the plugin, and nobody else anything.

    The manager takes the package of a distribution that comes first in the
    alphabet for the plugin, and asks it for its class ``Plugin``.
    """
    if name == "Plugin":
        from apbc_scipion import Plugin

        return Plugin
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
