"""The deterministic simulator: whole real nodes in one process, on a virtual clock, network and disk, from a seed.

`plan` draws a run from its seed; `world` runs it on `loop` with `host`s (real drivers over `disk` and `network`), `clients` and
`governor` as the load, `faults` and `byzantine` (with `lies*`) as the trouble, and `oracles` and `bounds` as the judges.
`campaign` runs many, `shrink` makes a failing one readable, `trace` tells its story. A new fault is a class in `plan`, a line
where it is drawn and a case in `faults`; a new lie a class in `lies_*` and a line in `byzantine`; each needs no other change.
"""
