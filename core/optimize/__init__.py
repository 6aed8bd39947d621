"""Search for plans: decoder, seeds, local search, Bayesian optimisation; only home of torch."""
