"""What to run next: the trials that narrow an interval most in the same time."""
