"""The one OpenAI-compatible endpoint: classify, pick a model and a replica, relay, record."""
