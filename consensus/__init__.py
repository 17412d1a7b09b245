"""The PBFT replica: a pure state machine. Messages, timers and results go in, frozen effects come out."""
