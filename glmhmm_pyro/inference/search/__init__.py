"""Where fits begin and what they find: starts, runs, kicks, distinct solutions."""
