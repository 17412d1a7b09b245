"""The contracts of the chain, one file each."""
