"""The content of the files that the kit writes for the package, and the file of secrets."""
