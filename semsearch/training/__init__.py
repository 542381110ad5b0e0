"""Training of encoders: objectives over the vectors of a batch."""
