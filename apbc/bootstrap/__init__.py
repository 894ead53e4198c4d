"""Training sets from bare micrographs: DeepCryoPicker's unsupervised part."""
