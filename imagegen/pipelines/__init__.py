"""What a diffusers checkpoint can do, and one request resolved against it, before anything is denoised."""
