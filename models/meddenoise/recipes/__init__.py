"""How each published model was trained: frozen configs (PRESETS), one objective and one readable run() each."""
