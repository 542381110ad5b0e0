"""The command-line interface, the only package that imports rich and typer."""
