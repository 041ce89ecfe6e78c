"""Models of servers, by the APIs that they speak over HTTP."""
