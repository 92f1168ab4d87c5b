"""HTTP below the routes: the edge in front of them, guards, limits, problem documents, responses."""
