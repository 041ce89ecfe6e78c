"""What votes can do, before they are paid for: odds of steps and tasks, what was measured, what to expect."""
