"""Bad input, a module a room: rows that tests/test_bad_input.py goes through."""
