"""Genesis specification, presets, key ceremony and network generator."""
