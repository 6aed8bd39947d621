"""Which model answers a query: features, classifier, policy."""
