"""Questions to people over many runs, and the ways to answer: `scaffold approvals`, a local page, a webhook."""
