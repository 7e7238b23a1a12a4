"""Training with torch, numpy and safetensors alone, so that a bare GPU machine can run it."""
