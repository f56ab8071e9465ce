"""The two steps of EM, for parts that separate and for those that do not."""
