"""What carries token ids through a backbone and its poolers: a file for each library."""
