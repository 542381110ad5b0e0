"""Where people and programs meet semsearch; only here are rich and typer imported."""
