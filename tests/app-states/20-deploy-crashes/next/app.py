raise SystemExit("the configuration lacks a password")
