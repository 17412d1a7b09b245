"""Hash, signature and whole-cluster benchmarks."""
