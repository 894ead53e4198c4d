"""Reading and writing: micrographs, particle stacks, coordinates, star files, atomic writes."""
