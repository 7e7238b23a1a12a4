"""How each published model was trained: one frozen config and one readable run() each."""
