"""Models of servers, over the HTTP APIs that they speak."""
