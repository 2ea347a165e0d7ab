"""A run as a folder of files, in the forms that people and other programs read."""
