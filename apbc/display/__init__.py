"""Pictures for people: picks over a micrograph, and curves."""
