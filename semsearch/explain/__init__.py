"""Why a hit was found: its score as a sum over the tokens of the passage and the terms of the query."""
