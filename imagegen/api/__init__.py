"""The contract between client, models and frontend: public tensors, requests, events, reports, errors, limits.

Everything else imports from here; nothing here imports from the rest of the package.
"""
