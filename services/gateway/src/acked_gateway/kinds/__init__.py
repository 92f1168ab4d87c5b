"""Kinds of work as operators act on them: pause and resume, limits."""
