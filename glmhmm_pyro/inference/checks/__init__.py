"""Cheap checks of data, models and fits: findings with a code and what to do."""
