"""Having monitors review plans, actions, steps, streams, and stored runs."""
