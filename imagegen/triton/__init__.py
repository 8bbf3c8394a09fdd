"""What the adapters in `model_repository` share. The only package that knows Triton's python backend."""
