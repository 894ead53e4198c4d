"""The data set that training reads: labelled crops, split, and where they came from."""
