"""The dialects, one module per API."""
