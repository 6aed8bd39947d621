"""The embedded fleet's two language models: their questions, training script and weights."""
