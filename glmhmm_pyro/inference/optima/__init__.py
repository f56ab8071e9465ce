"""The search for the best optimum: unlike starts, pruning by decoding, kicks."""
