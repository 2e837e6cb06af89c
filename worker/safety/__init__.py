"""Whether a Redis keeps what it is given: facts it tells, rules over them, and what to change."""
