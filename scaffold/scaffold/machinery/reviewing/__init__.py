"""Having monitors read: plans, actions, steps, streams, and stored runs."""
