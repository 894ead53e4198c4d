"""Tests that run the protocols in real projects (``scipion tests`` and ``pytest``)."""
