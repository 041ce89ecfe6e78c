"""What waits for people over many runs, and the ways to reach them: `scaffold approvals`, a local page, a webhook."""
