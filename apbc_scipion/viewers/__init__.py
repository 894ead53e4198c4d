"""Viewers that Scipion finds; the windows behind them are imported when they open."""
