"""How good the answers are: scorers, outcomes, intervals."""
