"""Types, canonical bytes, hashing, signatures, blocks and the Merkle state: what every other package stands on."""
