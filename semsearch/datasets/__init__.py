"""Public evaluation data sets, downloaded once and verified."""
