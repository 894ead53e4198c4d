"""Networks and the model folder."""
