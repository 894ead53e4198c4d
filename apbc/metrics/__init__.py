"""Measures against the ground truth: volumes, latent spaces, poses."""
